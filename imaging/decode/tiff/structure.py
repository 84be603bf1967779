"""What decoding a TIFF would cost, and whether its readers agree about what is in it.

Pillow judges a file's size by the tags as Pillow reads them, and libtiff allocates and works by the
tags as libtiff reads them. No limit holds for a tag that the two understand differently, so such a
file is refused.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.decode.formats import too_complex
from imaging.decode.jpeg import START_OF_SCAN, is_arithmetic
from imaging.decode.tiff.codes import (
    INTERLEAVED,
    JPEGS,
    OLD_JPEG,
    UNCOMPRESSED,
    unsupported,
)
from imaging.decode.tiff.directory import (
    LAYOUT,
    MAX_ENTRIES,
    MAX_VALUES,
    STRIPS,
    TILES,
    WHOLE_NUMBERS,
    TiffDirectory,
)

# JPEG, old and new, sets a whole decoder up for each strip or tile. Honest ones are of 8 rows or
# 128x128 pixels and more: 50 megapixels are some 3000.
MAX_WHOLE_IMAGES: Final = 4096

BYTE_TYPES: Final = (1, 2, 7)  # BYTE, ASCII, UNDEFINED: may be long, and stay bytes

# Strips or tiles that overlap are decoded, and by libtiff copied, again and again. Some writers
# count a little too much, and some share one tile for all that is blank.
MAX_TIMES_READ: Final = 4  # the file
MAX_READ: Final = 4 * 2**25  # bytes; what the largest file could have read

MAX_SCANS: Final = 100  # of all strips or tiles that are JPEG, beyond one for each

# Pixels of all tiles, unless the image has half as many: 20 000 x 1 in tiles of 1024 are 21 million
# of them, 5000 x 5000 in tiles of 4096 are 67.
MAX_TILE_PIXELS: Final = 70_000_000


def ends_early(directory: TiffDirectory) -> bool:
    """Whether the file stops before the end of its last strip or tile.

    If that is unreadable, before the end of the directory's entry count.
    """
    if not directory.has_valid_header:
        return False  # what looks like an offset is none
    end = _end_of_pieces(directory)
    return len(directory.data) < (directory.start if end is None else end)


def check_structure(directory: TiffDirectory) -> None:
    """Refuse a file that takes far longer to decode than its size suggests.

    Raises UnreadableImage where all is in order but for the number of parts, UnsupportedImage for
    a kind that is not read, ValueError where the file is damaged, or one that Pillow and libtiff
    read differently.
    """
    _check_tags(directory)
    compression = directory.number(tags.COMPRESSION, UNCOMPRESSED)
    _check_tiles(directory)
    if compression == UNCOMPRESSED:
        return  # no piece is longer than its pixels
    for offsets, counts in (STRIPS, TILES):
        if offsets in directory.layout:
            _check_pieces(directory, compression, offsets, counts)
    if compression in JPEGS and is_arithmetic(directory.data):
        raise unsupported("with JPEG in arithmetic coding")
    planes = directory.number(tags.PLANAR_CONFIGURATION, INTERLEAVED)
    if compression == OLD_JPEG and planes != INTERLEAVED:  # every strip walks through all planes
        raise unsupported("with old JPEG in planes")


def _check_tags(directory: TiffDirectory) -> None:
    """Refuse what Pillow and libtiff would not read the same, and tables without end."""
    if not directory.has_valid_header:
        raise ValueError("the header of BigTIFF, and not its size of offsets")
    if len(directory.entries) > MAX_ENTRIES:
        raise too_complex("TIFF")
    seen: set[int] = set()
    for entry in directory.entries:
        # A table larger than the file is never read.
        if entry.kind not in BYTE_TYPES and MAX_VALUES < entry.num_values <= len(directory.data):
            raise too_complex("TIFF")
        if entry.tag not in LAYOUT or not entry.num_values:
            continue  # Pillow and libtiff take no notice of it
        if entry.kind not in WHOLE_NUMBERS or entry.tag in seen:
            raise ValueError(f"tag {entry.tag} is of type {entry.kind}, or there twice")
        seen.add(entry.tag)
    if seen & {*STRIPS} and seen & {*TILES, tags.TILEWIDTH, tags.TILELENGTH}:
        raise ValueError("strips and tiles, which are the same to libtiff")


def _check_pieces(
    directory: TiffDirectory, compression: int, offsets_tag: int, counts_tag: int
) -> None:
    """Refuse strips or tiles each of which is small, while all together are not."""
    data = directory.data
    offsets = directory.layout[offsets_tag]
    counts = directory.layout.get(counts_tag)
    # Without a length libtiff would take a piece to be as long as the file, or to lie at its start.
    if (1 if counts is None else counts.num_values) != offsets.num_values:
        raise ValueError(f"{offsets.num_values} pieces, and not as many lengths")
    if compression in JPEGS and offsets.num_values > MAX_WHOLE_IMAGES:
        raise too_complex("TIFF")
    starts = directory.values(offsets)
    lengths = np.full(1, len(data)) if counts is None else directory.values(counts)
    # libtiff reads no piece beyond the end of the file, whose size may be too much for 16 bits.
    read = np.minimum(lengths.astype(np.uint64), np.uint64(len(data))).sum(dtype=np.int64)
    if read > max(MAX_TIMES_READ * len(data), MAX_READ):
        raise too_complex("TIFF")
    if compression in JPEGS:
        pieces = zip(starts.tolist(), lengths.tolist())
        scans = sum(data.count(START_OF_SCAN, start, start + length) for start, length in pieces)
        if scans > MAX_SCANS + offsets.num_values:
            raise too_complex("TIFF")


def _check_tiles(directory: TiffDirectory) -> None:
    """Refuse tiles that are far larger together than the image in them."""
    width, height, tile_width, tile_height = (
        directory.number(tag, 0)
        for tag in (tags.IMAGEWIDTH, tags.IMAGELENGTH, tags.TILEWIDTH, tags.TILELENGTH)
    )
    if not (tile_width or tile_height):
        return
    if not (tile_width and tile_height):
        raise ValueError(f"tiles of {tile_width}x{tile_height}")
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    unpacked = columns * tile_width * rows * tile_height
    if columns * rows > 1 and unpacked > max(2 * width * height, MAX_TILE_PIXELS):
        raise too_complex("TIFF")


def _end_of_pieces(directory: TiffDirectory) -> int | None:
    """The byte after the last strip or tile; None where no readable table tells it."""
    if len(directory.entries) > MAX_ENTRIES:
        return None
    entries = {entry.tag: entry for entry in directory.entries if entry.num_values <= MAX_VALUES}
    try:
        ends = [
            # As floats: offsets of 64 bits may be any.
            (
                directory.values(entries[offsets]).astype(float) + directory.values(entries[counts])
            ).max()
            for offsets, counts in (STRIPS, TILES)
            if offsets in entries
        ]
        return int(max(ends))
    except (KeyError, ValueError):  # of another type, beyond the end of the file, or without values
        return None

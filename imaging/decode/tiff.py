"""A TIFF's first directory, parsed without Pillow and libtiff, and what decoding by it would cost.

Pillow judges a file's size by the tags as Pillow reads them, and libtiff allocates and works by the
tags as libtiff reads them. No limit holds for a tag that the two understand differently, so such a
file is refused.
TIFF 6.0, section 2; BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.decode.formats import too_complex
from imaging.decode.jpeg import START_OF_SCAN, is_arithmetic

ByteOrder = Literal["little", "big"]

# Types of an unsigned whole number -> its bytes. Others may hold one too, but Pillow skips some
# that libtiff reads (SLONG8), and returns bytes for others (BYTE).
WHOLE_NUMBERS: Final = {3: 2, 4: 4, 16: 8}  # SHORT, LONG, LONG8

# Offsets and byte counts of the pieces that an image is stored in.
STRIPS: Final = (tags.STRIPOFFSETS, tags.STRIPBYTECOUNTS)
TILES: Final = (tags.TILEOFFSETS, tags.TILEBYTECOUNTS)

# All that says where pixels are, how many, and how they are packed.
LAYOUT: Final = frozenset(
    (
        *(tags.IMAGEWIDTH, tags.IMAGELENGTH, tags.TILEWIDTH, tags.TILELENGTH, tags.ROWSPERSTRIP),
        *(*STRIPS, *TILES, tags.COMPRESSION, tags.PREDICTOR, tags.FILLORDER),
        *(tags.BITSPERSAMPLE, tags.SAMPLESPERPIXEL, tags.SAMPLEFORMAT, tags.EXTRASAMPLES),
        *(tags.PLANAR_CONFIGURATION, tags.PHOTOMETRIC_INTERPRETATION, tags.YCBCRSUBSAMPLING),
        tags.COLORMAP,
    )
)

# Values of COMPRESSION, of PLANAR_CONFIGURATION, and of PHOTOMETRIC_INTERPRETATION.
UNCOMPRESSED: Final = 1
OLD_JPEG: Final = 6
JPEGS: Final = (OLD_JPEG, 7)
INTERLEAVED: Final = 1
WHITE_IS_ZERO: Final = 0
BLACK_IS_ZERO: Final = 1
YCBCR: Final = 6

# JPEG, old and new, and WebP set a whole decoder up for each strip or tile. Honest ones are of 8
# rows or 128x128 pixels and more: 50 megapixels are some 3000.
WHOLE_IMAGES: Final = (*JPEGS, 50001)
MAX_WHOLE_IMAGES: Final = 4096

# Entries of a directory, and values of one of them: Pillow makes a few hundred bytes of Python
# objects from each. Ordinary directories have about twenty entries.
MAX_ENTRIES: Final = 4096
MAX_VALUES: Final = 2**18  # 50 megapixels in tiles of 16x16 need 195 313
BYTE_TYPES: Final = (1, 2, 7)  # BYTE, ASCII, UNDEFINED: may be long, and stay bytes

# Strips or tiles that overlap are decoded, and by libtiff copied, again and again. Some writers
# count a little too much, and some share one tile for all that is blank.
MAX_TIMES_READ: Final = 4  # the file
MAX_READ: Final = 4 * 2**25  # bytes; what the largest file could have read

MAX_SCANS: Final = 100  # of all strips or tiles that are JPEG, beyond one for each

# Pixels of all tiles, unless the image has half as many: 20 000 x 1 in tiles of 1024 are 21 million
# of them, 5000 x 5000 in tiles of 4096 are 67.
MAX_TILE_PIXELS: Final = 70_000_000


class Entry(NamedTuple):
    """One tag of a directory, with its type and the number of its values."""

    tag: int
    kind: int
    num_values: int
    field: slice  # of the file: its values where they fit, else their offset


@dataclass(frozen=True)
class TiffDirectory:
    """The first directory of a file, as it stands there: `check_structure` tells what to refuse."""

    data: bytes = field(repr=False)  # the whole file: values are read from it when they are used
    order: ByteOrder
    start: int  # byte offset of the first entry
    entries: tuple[Entry, ...]  # in the file's order, as far as it goes, at most MAX_ENTRIES + 1
    layout: Mapping[int, Entry]  # by tag, those of LAYOUT that have values

    @property
    def tile_size(self) -> tuple[int, int]:
        """(width, height) px, 0 for an image in strips.

        libtiff unpacks a tile whole, even one that is larger than its image.
        """
        return self.first(tags.TILEWIDTH, 0), self.first(tags.TILELENGTH, 0)

    def number(self, tag: int, default: int) -> int:
        """The one value of a tag, or that of all its values: older files have one for each sample.

        Raises ValueError where they differ.
        """
        if tag not in self.layout:
            return default
        values = self.values(self.layout[tag])
        if (values != values[0]).any():
            raise ValueError(f"tag {tag} has {len(values)} values, not all the same")
        return int(values[0])

    def first(self, tag: int, default: int) -> int:
        """The first value of a tag, which is the one that Pillow takes."""
        return int(self.values(self.layout[tag])[0]) if tag in self.layout else default

    def values(self, entry: Entry) -> npt.NDArray[np.unsignedinteger]:
        """The values (num_values,) of an entry of WHOLE_NUMBERS, a view of the file.

        Raises ValueError where the file ends before them.
        """
        width = WHOLE_NUMBERS[entry.kind]
        start = entry.field.start
        inline = self.data[entry.field]
        if width * entry.num_values > len(inline):
            start = int.from_bytes(inline, self.order)
        if start + width * entry.num_values > len(self.data):
            raise ValueError(f"tag {entry.tag} has its values beyond the end of the file")
        dtype = np.dtype(f"u{width}").newbyteorder("<" if self.order == "little" else ">")
        return np.frombuffer(self.data, dtype, entry.num_values, start)


def read_directory(data: bytes) -> TiffDirectory:
    """Takes any bytes behind a TIFF's signature."""
    order: ByteOrder = "little" if data.startswith(b"II") else "big"
    # BigTIFF, version 43, has fields of 64 bits.
    is_big = data[2] == 43
    offset, count_width, width = (data[8:16], 8, 8) if is_big else (data[4:8], 2, 4)
    start = int.from_bytes(offset, order)
    num_entries = int.from_bytes(data[start : start + count_width], order)
    start += count_width
    entry_width = 4 + 2 * width
    stop = min(start + min(num_entries, MAX_ENTRIES + 1) * entry_width, len(data))
    entries = tuple(
        Entry(
            tag=int.from_bytes(data[at : at + 2], order),
            kind=int.from_bytes(data[at + 2 : at + 4], order),
            num_values=int.from_bytes(data[at + 4 : at + 4 + width], order),
            field=slice(at + 4 + width, at + entry_width),
        )
        for at in range(start, stop, entry_width)
    )
    layout = {entry.tag: entry for entry in entries if entry.tag in LAYOUT and entry.num_values}
    return TiffDirectory(data, order, start, entries, layout)


def ends_early(directory: TiffDirectory) -> bool:
    """Whether the file stops before the end of its last strip or tile.

    If that is unreadable, before the end of the directory's entry count.
    """
    end = _end_of_pieces(directory)
    return len(directory.data) < (directory.start if end is None else end)


def check_structure(directory: TiffDirectory) -> None:
    """Refuse a file that takes far longer to decode than its size suggests.

    Raises UnreadableImage where all is in order but for the number of parts, ValueError where the
    file is damaged, of a kind that is not read, or one that Pillow and libtiff read differently.
    """
    _check_tags(directory)
    compression = directory.number(tags.COMPRESSION, UNCOMPRESSED)
    if compression == UNCOMPRESSED:
        _check_subsampling(directory)
        return  # read by Pillow alone, a piece at a time
    for offsets, counts in (STRIPS, TILES):
        if offsets in directory.layout:
            _check_pieces(directory, compression, offsets, counts)
    _check_tiles(directory)
    if compression in JPEGS and is_arithmetic(directory.data):
        raise ValueError("JPEG in arithmetic coding")
    planes = directory.number(tags.PLANAR_CONFIGURATION, INTERLEAVED)
    if compression == OLD_JPEG and planes != INTERLEAVED:  # every strip walks through all planes
        raise ValueError("old JPEG in planes")


def _check_tags(directory: TiffDirectory) -> None:
    """Refuse what Pillow and libtiff would not read the same, and tables without end."""
    if directory.data[:4] == b"MM\0+":  # Pillow looks for a directory where BigTIFF has none
        raise ValueError("BigTIFF with the high byte first")
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


def _check_subsampling(directory: TiffDirectory) -> None:
    """Refuse chroma at a lower resolution, which Pillow reads only where it is compressed."""
    if directory.number(tags.PHOTOMETRIC_INTERPRETATION, WHITE_IS_ZERO) == YCBCR:
        factors = directory.layout.get(tags.YCBCRSUBSAMPLING)
        # Without the tag it is 2x2 by the standard, and none at all by Pillow until 8.3.
        if factors is not None and (directory.values(factors) != 1).any():
            raise ValueError("uncompressed YCbCr, subsampled")


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
    if compression in WHOLE_IMAGES and offsets.num_values > MAX_WHOLE_IMAGES:
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

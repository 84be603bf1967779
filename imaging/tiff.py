"""A TIFF's first directory, read without Pillow and libtiff: what decoding would cost.

Pillow judges a file's size by the tags as it reads them, and libtiff allocates and works by the
tags as it reads them. A tag that the two understand differently is one that no limit holds for.
TIFF 6.0, section 2; BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import numpy as np
from PIL import TiffImagePlugin as tags  # noqa: N813

ByteOrder = Literal["little", "big"]

# Types of a whole number without a sign -> its bytes. Others may hold one too, but Pillow skips
# some that libtiff reads (SLONG8), and makes text of others (BYTE).
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

UNCOMPRESSED: Final = 1

# JPEG, old and new, and WebP set a whole decoder up for each strip or tile. Honest ones are of 8
# rows or 128x128 pixels and more: 50 megapixels are some 3000.
WHOLE_IMAGES: Final = (6, 7, 50001)
MAX_WHOLE_IMAGES: Final = 4096

# Entries of a directory, and values of one of them: Pillow makes a few hundred bytes of Python
# objects from each. Ordinary directories have about twenty entries.
MAX_ENTRIES: Final = 4096
MAX_VALUES: Final = 2**18  # 50 megapixels in tiles of 16x16 need 195 313
BYTE_TYPES: Final = (1, 2, 7)  # BYTE, ASCII, UNDEFINED: may be long, and stay bytes

# Strips or tiles that lie upon each other are decoded, and by libtiff copied, again and again.
MAX_TIMES_READ: Final = 4  # the file; some writers count a little too much


class Entry(NamedTuple):
    """One tag of a directory, with its type and the number of its values."""

    tag: int
    kind: int
    num_values: int
    field: slice  # of the file: its values where they fit, else their offset


class TooManyPieces(ValueError):
    """The file is one that takes far longer to decode than its size tells."""


def directory(data: bytes) -> Iterator[Entry]:
    """The entries of the first directory, as far as the file goes. Raises TooManyPieces."""
    order, start, count_width, width = header(data)
    num_entries = int.from_bytes(data[start : start + count_width], order)
    start += count_width
    entry_width = 4 + 2 * width
    stop = min(start + num_entries * entry_width, len(data))
    if stop - start > MAX_ENTRIES * entry_width:
        raise TooManyPieces(f"a directory of {num_entries} entries")
    for at in range(start, stop, entry_width):
        tag, kind = (int.from_bytes(data[at + k : at + k + 2], order) for k in (0, 2))
        count = int.from_bytes(data[at + 4 : at + 4 + width], order)
        yield Entry(tag, kind, count, slice(at + 4 + width, at + entry_width))


def header(data: bytes) -> tuple[ByteOrder, int, int, int]:
    """Byte order, offset of the first directory, width of its entry count, width of an offset.

    BigTIFF, version 43, has fields of 64 bits.
    """
    order: ByteOrder = "little" if data.startswith(b"II") else "big"
    if data[2] == 43:
        return order, int.from_bytes(data[8:16], order), 8, 8
    return order, int.from_bytes(data[4:8], order), 2, 4


def check_layout(data: bytes) -> None:
    """Refuse a directory of which Pillow and libtiff would not read the same, or one of no end.

    Raises ValueError, TooManyPieces where all is in order but for the number.
    """
    if data[:4] == b"MM\0+":  # in which Pillow looks for a directory where BigTIFF has none
        raise ValueError("BigTIFF with the high byte first")
    entries: dict[int, Entry] = {}
    for entry in directory(data):
        # More numbers than the file has bytes are never read.
        if entry.kind not in BYTE_TYPES and MAX_VALUES < entry.num_values <= len(data):
            raise TooManyPieces(f"tag {entry.tag} has {entry.num_values} values")
        if entry.tag not in LAYOUT:
            continue
        if entry.kind not in WHOLE_NUMBERS or entry.tag in entries:
            raise ValueError(f"tag {entry.tag} is of type {entry.kind}, or there twice")
        entries[entry.tag] = entry
    packing = entries.get(tags.COMPRESSION)
    if packing is None or packing.num_values != 1:
        return
    compression = int(numbers(data, packing)[0])
    if compression == UNCOMPRESSED:
        return  # read by Pillow alone, a piece at a time
    for offsets, counts in (STRIPS, TILES):
        if offsets in entries:
            check_pieces(data, compression, entries[offsets], entries.get(counts))


def check_pieces(data: bytes, compression: int, offsets: Entry, counts: Entry | None) -> None:
    """Refuse strips or tiles of which each is small, and all together are not."""
    if offsets.num_values == 1:
        return
    # libtiff would take each to be as long as the file.
    if counts is None or counts.num_values != offsets.num_values:
        raise ValueError(f"{offsets.num_values} pieces, and not as many lengths")
    if compression in WHOLE_IMAGES and offsets.num_values > MAX_WHOLE_IMAGES:
        raise TooManyPieces(f"{offsets.num_values} pieces of compression {compression}")
    # libtiff reads no piece beyond the end of the file.
    read = np.minimum(numbers(data, counts), len(data)).sum(dtype=np.int64)
    if read > MAX_TIMES_READ * len(data):
        raise TooManyPieces(f"{read} bytes of a file of {len(data)}")


def extent(data: bytes) -> int:
    """Bytes to the end of the last strip or tile, or, if that is unreadable, to the directory."""
    try:
        entries = {entry.tag: entry for entry in directory(data)}
        ends = [
            # As floats: offsets of 64 bits may be any.
            (numbers(data, entries[offsets]).astype(float) + numbers(data, entries[counts])).max()
            for offsets, counts in (STRIPS, TILES)
            if offsets in entries
        ]
        return int(max(ends))
    except (KeyError, ValueError):
        _, start, count_width, _ = header(data)
        return start + count_width


def numbers(data: bytes, entry: Entry) -> np.ndarray:
    """The values of an entry of WHOLE_NUMBERS; ValueError where the file ends before them."""
    order = "<" if data.startswith(b"II") else ">"
    width = WHOLE_NUMBERS[entry.kind]
    field = data[entry.field]
    start = entry.field.start
    if width * entry.num_values > len(field):
        start = int.from_bytes(field, "little" if order == "<" else "big")
    if start + width * entry.num_values > len(data):
        raise ValueError(f"tag {entry.tag} has its values beyond the end of the file")
    return np.frombuffer(data, f"{order}u{width}", entry.num_values, start)

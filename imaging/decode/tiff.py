"""A TIFF's first directory, read without Pillow and libtiff: what decoding would cost.

Pillow judges a file's size by the tags as it reads them, and libtiff allocates and works by the
tags as it reads them. A tag that the two understand differently is one that no limit holds for.
TIFF 6.0, section 2; BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.decode.jpeg import START_OF_SCAN, is_arithmetic

ByteOrder = Literal["little", "big"]

# Types of a whole number without a sign -> its bytes. Others may hold one too, but Pillow skips
# some that libtiff reads (SLONG8), and makes bytes of others (BYTE).
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
TOGETHER: Final = 1
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

# Strips or tiles that lie upon each other are decoded, and by libtiff copied, again and again.
# Some writers count a little too much, and some have one tile for all that is blank.
MAX_TIMES_READ: Final = 4  # the file
MAX_READ: Final = 4 * 2**25  # bytes; what the largest file could have read

MAX_SCANS: Final = 100  # of all strips or tiles that are JPEG, beyond one for each

# Pixels of all tiles, unless the image has half as many: 20 000 x 1 in tiles of 1024 are 21 million
# of them, 5000 x 5000 in tiles of 4096 are 67.
MAX_UNPACKED: Final = 70_000_000


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


def layout(data: bytes) -> dict[int, Entry]:
    """The entries of LAYOUT that the file has.

    Raises ValueError where Pillow and libtiff would not read the same, TooManyPieces.
    """
    if data[:4] == b"MM\0+":  # in which Pillow looks for a directory where BigTIFF has none
        raise ValueError("BigTIFF with the high byte first")
    entries: dict[int, Entry] = {}
    for entry in directory(data):
        # More numbers than the file has bytes are never read.
        if entry.kind not in BYTE_TYPES and MAX_VALUES < entry.num_values <= len(data):
            raise TooManyPieces(f"tag {entry.tag} has {entry.num_values} values")
        if entry.tag not in LAYOUT or not entry.num_values:
            continue  # of which Pillow and libtiff take no notice
        if entry.kind not in WHOLE_NUMBERS or entry.tag in entries:
            raise ValueError(f"tag {entry.tag} is of type {entry.kind}, or there twice")
        entries[entry.tag] = entry
    if entries.keys() & STRIPS and entries.keys() & {*TILES, tags.TILEWIDTH, tags.TILELENGTH}:
        raise ValueError("strips and tiles, which are the same to libtiff")
    return entries


def check_layout(data: bytes) -> None:
    """Refuse a file that takes far longer to decode than its size tells.

    Raises ValueError, TooManyPieces where all is in order but for the number.
    """
    entries = layout(data)
    compression = number(data, entries, tags.COMPRESSION, UNCOMPRESSED)
    if compression == UNCOMPRESSED:
        check_samples(data, entries)
        return  # read by Pillow alone, a piece at a time
    for offsets, counts in (STRIPS, TILES):
        if offsets in entries:
            check_pieces(data, compression, entries[offsets], entries.get(counts))
    check_tiles(data, entries)
    if compression in JPEGS and is_arithmetic(data):
        raise ValueError("JPEG in arithmetic coding")
    planes = number(data, entries, tags.PLANAR_CONFIGURATION, TOGETHER)
    if compression == OLD_JPEG and planes != TOGETHER:  # of each strip all planes are gone through
        raise ValueError("old JPEG in planes")


def check_samples(data: bytes, entries: Mapping[int, Entry]) -> None:
    """Refuse colours at fewer pixels than brightness, which Pillow reads only where compressed."""
    if number(data, entries, tags.PHOTOMETRIC_INTERPRETATION, 0) == YCBCR:
        factors = entries.get(tags.YCBCRSUBSAMPLING)
        # Without the tag it is 2x2 by the standard, and none at all by Pillow until 8.3.
        if factors is not None and (numbers(data, factors) != 1).any():
            raise ValueError("uncompressed YCbCr, subsampled")


def check_pieces(data: bytes, compression: int, offsets: Entry, counts: Entry | None) -> None:
    """Refuse strips or tiles of which each is small, and all together are not."""
    # libtiff would take each to be as long as the file, or to lie at its beginning.
    if (1 if counts is None else counts.num_values) != offsets.num_values:
        raise ValueError(f"{offsets.num_values} pieces, and not as many lengths")
    if compression in WHOLE_IMAGES and offsets.num_values > MAX_WHOLE_IMAGES:
        raise TooManyPieces(f"{offsets.num_values} pieces of compression {compression}")
    starts = numbers(data, offsets)
    lengths = np.full(1, len(data)) if counts is None else numbers(data, counts)
    # libtiff reads no piece beyond the end of the file, whose size may be too much for 16 bits.
    read = np.minimum(lengths.astype(np.uint64), np.uint64(len(data))).sum(dtype=np.int64)
    if read > max(MAX_TIMES_READ * len(data), MAX_READ):
        raise TooManyPieces(f"{read} bytes of a file of {len(data)}")
    if compression in JPEGS:
        pieces = zip(starts.tolist(), lengths.tolist())
        scans = sum(data.count(START_OF_SCAN, start, start + length) for start, length in pieces)
        if scans > MAX_SCANS + offsets.num_values:
            raise TooManyPieces(f"{scans} scans in {offsets.num_values} pieces")


def check_tiles(data: bytes, entries: Mapping[int, Entry]) -> None:
    """Refuse tiles that are far larger together than the image in them."""
    width, height, tile_width, tile_height = (
        number(data, entries, tag, 0)
        for tag in (tags.IMAGEWIDTH, tags.IMAGELENGTH, tags.TILEWIDTH, tags.TILELENGTH)
    )
    if not (tile_width or tile_height):
        return
    if not (tile_width and tile_height):
        raise ValueError(f"tiles of {tile_width}x{tile_height}")
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    unpacked = columns * tile_width * rows * tile_height
    if columns * rows > 1 and unpacked > max(2 * width * height, MAX_UNPACKED):
        raise TooManyPieces(f"{columns * rows} tiles of {unpacked} pixels for {width}x{height}")


def extent(data: bytes) -> int:
    """Bytes to the end of the last strip or tile, or, if that is unreadable, to the directory."""
    try:
        entries = {e.tag: e for e in directory(data) if e.num_values <= MAX_VALUES}
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


def number(data: bytes, entries: Mapping[int, Entry], tag: int, default: int) -> int:
    """The one value of a tag, or that of all its values: of old there was one for each sample.

    Raises ValueError where they differ.
    """
    if tag not in entries:
        return default
    values = numbers(data, entries[tag])
    if (values != values[0]).any():  # there is one: `layout` leaves empty tags out
        raise ValueError(f"tag {tag} has {len(values)} values, not all the same")
    return int(values[0])


def numbers(data: bytes, entry: Entry) -> npt.NDArray[np.unsignedinteger]:
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

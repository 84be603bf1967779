"""A TIFF's directories, parsed without Pillow and libtiff.

TIFF 6.0, section 2; BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import TiffImagePlugin as tags  # noqa: N813

ByteOrder = Literal["little", "big"]

# Types of an unsigned whole number -> its bytes. Others may hold one too, but Pillow skips some
# that libtiff reads (SLONG8), and returns bytes for others (BYTE).
WHOLE_NUMBERS: Final = {3: 2, 4: 4, 16: 8}  # SHORT, LONG, LONG8
DIRECTORY_OFFSETS: Final = {4: 4, 13: 4, 16: 8, 18: 8}  # LONG, IFD, LONG8, IFD8

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

# What a directory holds (TIFF 6.0, section 8): bits of NewSubfileType, a value of the older tag.
NEW_SUBFILE_TYPE: Final = 254
REDUCED: Final = 0b001
TRANSPARENCY_MASK: Final = 0b100
SUBFILE_TYPE: Final = 255
OLD_REDUCED: Final = 2

# Entries of a directory, and values of one of them: Pillow makes a few hundred bytes of Python
# objects from each. Ordinary directories have about twenty entries.
MAX_ENTRIES: Final = 4096
MAX_VALUES: Final = 2**18  # 50 megapixels in tiles of 16x16 need 195 313

# Directories in which the full picture, or a camera's raw one, is looked for, until they have
# MAX_ENTRIES together. A camera's file has at most ten, a pyramid one for each halving.
MAX_DIRECTORIES: Final = 32


class Entry(NamedTuple):
    """One tag of a directory, with its type and the number of its values."""

    tag: int
    kind: int
    num_values: int
    field: slice  # of the file: its values where they fit, else their offset


@dataclass(frozen=True)
class TiffDirectory:
    """A directory of a file, as it stands there: structure.py tells what to refuse."""

    data: bytes = field(repr=False)  # the whole file: values are read from it when they are used
    order: ByteOrder
    start: int  # byte offset of the first entry
    entries: tuple[Entry, ...]  # in the file's order, as far as it goes, at most MAX_ENTRIES + 1
    layout: Mapping[int, Entry]  # by tag, those of LAYOUT that have values

    @property
    def is_big(self) -> bool:
        """Whether it is BigTIFF, version 43, whose fields have 64 bits."""
        return self.data[2:4] in (b"+\0", b"\0+")

    @property
    def has_valid_header(self) -> bool:
        """BigTIFF states that its offsets have 8 bytes, and two bytes that are 0."""
        return not self.is_big or self.data[4:8] == (8).to_bytes(2, self.order) + bytes(2)

    @property
    def is_reduced(self) -> bool:
        """Whether the picture is a smaller version of another one in the file."""
        reduced = self.metadata(NEW_SUBFILE_TYPE) & REDUCED
        return bool(reduced) or self.metadata(SUBFILE_TYPE) == OLD_REDUCED

    @property
    def is_mask(self) -> bool:
        return bool(self.metadata(NEW_SUBFILE_TYPE) & TRANSPARENCY_MASK)

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
        start = self._start_of_values(entry, width)
        dtype = np.dtype(f"u{width}").newbyteorder("<" if self.order == "little" else ">")
        return np.frombuffer(self.data, dtype, entry.num_values, start)

    def entry(self, tag: int) -> Entry | None:
        """The first entry of a tag that has values, be it of LAYOUT or not."""
        return next(
            (entry for entry in self.entries if entry.tag == tag and entry.num_values), None
        )

    def metadata(self, tag: int) -> int:
        """The first value of a tag that does not decide how pixels are stored; 0 where it has none.

        Whatever is wrong with metadata, the picture is worth more.
        """
        entry = self.entry(tag)
        if entry is None or entry.kind not in WHOLE_NUMBERS:
            return 0
        try:
            return int(self.values(entry)[0])
        except ValueError:
            return 0

    def raw_bytes(self, tag: int, max_bytes: int) -> bytes:
        """The bytes of a tag whose values are bytes or characters; none where it is unreadable."""
        entry = self.entry(tag)
        if entry is None or entry.kind not in (1, 2, 7) or entry.num_values > max_bytes:
            return b""
        try:
            start = self._start_of_values(entry, 1)
        except ValueError:
            return b""
        return self.data[start : start + entry.num_values]

    def sub_directories(self) -> list[int]:
        """Byte offsets of the directories that belong to this one, at most MAX_DIRECTORIES."""
        entry = self.entry(tags.SUBIFD)
        if entry is None or entry.kind not in DIRECTORY_OFFSETS:
            return []
        width = DIRECTORY_OFFSETS[entry.kind]
        try:
            start = self._start_of_values(entry, width)
        except ValueError:
            return []
        count = min(entry.num_values, MAX_DIRECTORIES)
        stops = range(start, start + count * width, width)
        return [int.from_bytes(self.data[at : at + width], self.order) for at in stops]

    def next_directory(self) -> int:
        """Byte offset of the next directory of the file, 0 behind the last."""
        entry_width, width = (20, 8) if self.is_big else (12, 4)
        at = self.start + len(self.entries) * entry_width
        return int.from_bytes(self.data[at : at + width], self.order)

    def as_first(self) -> bytes:
        """The file, whose header names this directory as the first."""
        at, count_width, width = (8, 8, 8) if self.is_big else (4, 2, 4)
        offset = (self.start - count_width).to_bytes(width, self.order)
        if self.data[at : at + width] == offset:
            return self.data
        return self.data[:at] + offset + self.data[at + width :]

    def _start_of_values(self, entry: Entry, width: int) -> int:
        """Byte offset of values of `width` bytes. Raises ValueError if they are not in the file."""
        start = entry.field.start
        inline = self.data[entry.field]
        if width * entry.num_values > len(inline):
            start = int.from_bytes(inline, self.order)
        if start + width * entry.num_values > len(self.data):
            raise ValueError(f"tag {entry.tag} has its values beyond the end of the file")
        return int(start)


def read_directories(data: bytes) -> list[TiffDirectory]:
    """The first directories, each followed by those that belong to it; takes any bytes.

    At least the first one, at most MAX_DIRECTORIES, none of them twice.
    """
    return list(_walk(data))


def full_picture(directories: list[TiffDirectory]) -> TiffDirectory:
    """The first picture that is no smaller version of another; the first one if all are."""
    whole = (each for each in directories if not (each.is_reduced or each.is_mask))
    return next(whole, directories[0])


def _walk(data: bytes) -> Iterator[TiffDirectory]:
    order: ByteOrder = "little" if data.startswith(b"II") else "big"
    is_big = data[2:4] in (b"+\0", b"\0+")
    seen: set[int] = set()
    num_entries = 0
    waiting = [int.from_bytes(data[8:16] if is_big else data[4:8], order)]
    while waiting and len(seen) < MAX_DIRECTORIES and num_entries <= MAX_ENTRIES:
        offset = waiting.pop()
        if offset in seen or (seen and not 0 < offset < len(data)):
            continue
        seen.add(offset)
        directory = _directory_at(data, order, offset, is_big=is_big)
        num_entries += len(directory.entries)
        yield directory
        waiting += [directory.next_directory(), *reversed(directory.sub_directories())]


def _directory_at(data: bytes, order: ByteOrder, start: int, *, is_big: bool) -> TiffDirectory:
    count_width, width = (8, 8) if is_big else (2, 4)
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

"""The boxes of an ISO base media file (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

# Boxes that hold boxes -> the bytes before these; of `iinf` they depend on its version.
CONTAINERS: Final = {
    **dict.fromkeys((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"iprp", b"ipco"), 0),
    **{b"meta": 4, b"stsd": 8, b"av01": 78},
}
MAX_DEPTH: Final = 8


class Box(NamedTuple):
    """A box's type, and the bytes of its content."""

    kind: bytes
    start: int
    end: int

    def head(self, data: bytes) -> bytes:
        return data[self.start : min(self.end, self.start + 100)]


def read_boxes(data: bytes) -> Iterator[Box]:
    """Each box, and behind it those inside of it. Takes any bytes."""
    yield from _boxes(data, 0, len(data), MAX_DEPTH)


def box_children(data: bytes, box: Box, skipped: int) -> Iterator[Box]:
    """The boxes in a box, behind the first `skipped` bytes of its content, not those in them."""
    yield from _boxes(data, box.start + skipped, box.end, 0)


def box_size(data: bytes, start: int) -> int | None:
    """Of a box with its header; None if it goes on to the end of the file, or is damaged."""
    size = number(data, start, 4)
    if size == 1:
        size = number(data, start + 8, 8)
    return size if size >= 8 else None


def number(data: bytes, start: int, width: int) -> int:
    """Unsigned, high byte first; what lies behind the end of the file is missing."""
    return int.from_bytes(data[start : start + width], "big")


def _boxes(data: bytes, start: int, end: int, depth: int) -> Iterator[Box]:
    while start + 8 <= end:
        size = box_size(data, start)
        kind = data[start + 4 : start + 8]
        content = start + (16 if number(data, start, 4) == 1 else 8)
        stop = end if size is None else min(start + size, end)
        yield Box(kind, content, stop)
        inside = CONTAINERS.get(kind)
        if kind == b"iinf":
            inside = 8 if data[content : content + 1] > b"\0" else 6
        if inside is not None and depth:
            yield from _boxes(data, content + inside, stop, depth - 1)
        start = stop

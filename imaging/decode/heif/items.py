"""Where in a file the bytes of its pictures lie.

ISO/IEC 14496-12, sections 8.11.3 (iloc), 8.11.6 (iinf), 8.7.5 (stco).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from imaging.decode.heif.boxes import Box, number

IN_FILE, IN_ITEM_DATA = 0, 1  # what an offset counts from
MAX_ITEMS: Final = 4096  # in a file, with their extents; ordinary ones have a few hundred
HEAD_BYTES: Final = 1 << 16  # of a picture, in which its headers lie


def heads_of_pictures(data: bytes, boxes: list[Box], kind: bytes) -> Iterator[bytes]:
    """The first bytes of each item of a type, such as av01, and of each track's first sample.

    Raises ValueError for more items or extents than any file has.
    """
    items = {
        _number_of(data, box) for box in boxes if box.kind == b"infe" and kind in box.head(data)
    }
    item_data = next((box.start for box in boxes if box.kind == b"idat"), 0)
    num_extents = 0  # of all boxes together
    for box in boxes:
        if box.kind == b"iloc":
            for item, base, extents in _locations(data, box):
                num_extents += 1 + len(extents)
                _check_count(num_extents)
                if item in items:
                    yield _head(data, item_data if base == IN_ITEM_DATA else 0, extents)
        elif box.kind in (b"stco", b"co64"):
            num_extents += 1
            _check_count(num_extents)
            width = 4 if box.kind == b"stco" else 8
            start = number(data, box.start + 8, width)
            if start < len(data):
                yield data[start : start + HEAD_BYTES]


def _head(data: bytes, origin: int, extents: list[tuple[int, int]]) -> bytes:
    head = bytearray()
    for at, size in extents:
        missing = HEAD_BYTES - len(head)
        head += data[origin + at : origin + at + min(size, missing)]
    return bytes(head)


def _check_count(num_extents: int) -> None:
    if num_extents > MAX_ITEMS:
        raise ValueError("more extents than a file has")


def _number_of(data: bytes, box: Box) -> int:
    """An item's number, from its `infe` box, which has 16 bits for it up to version 2."""
    return number(data, box.start + 4, 4 if data[box.start] > 2 else 2)


def _locations(data: bytes, box: Box) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Number, kind of offset, and (offset, length) of the extents of each item.

    Raises ValueError for more than any file has.
    """
    version = data[box.start]
    offset_width, length_width = data[box.start + 4] >> 4, data[box.start + 4] & 15
    base_width, index_width = data[box.start + 5] >> 4, data[box.start + 5] & 15
    wide = 4 if version > 1 else 2
    at = box.start + 6
    num_items = number(data, at, wide)
    at += wide
    for _ in range(num_items):
        item = number(data, at, wide)
        at += wide
        kind = IN_FILE
        if version > 0:
            kind = data[at + 1] & 15 if at + 1 < box.end else IN_FILE
            at += 2
        base = number(data, at + 2, base_width)
        at += 2 + base_width
        count = number(data, at, 2)
        at += 2
        _check_count(count)
        if at > box.end:
            raise ValueError("items behind the end of their box")
        extents = []
        for _ in range(count):
            at += index_width if version > 0 else 0
            start, length = (
                number(data, at, offset_width),
                number(data, at + offset_width, length_width),
            )
            extents.append((base + start, length or len(data)))
            at += offset_width + length_width
        yield item, kind, extents

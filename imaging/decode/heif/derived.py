"""How many pixels are decoded for a picture that is made of others: a grid of tiles, an overlay.

A tile is decoded as often as it is referred to, all in one call, which no limit on time can stop:
961 references to one tile of 2048x2048 pixels are 4 gigapixels.
ISO/IEC 14496-12, section 8.11.12 (iref); ISO/IEC 23008-12, sections 6.6.2 (derived items), 9.3.1
(ipma).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from imaging.decode.heif.boxes import Box, box_children, number
from imaging.decode.heif.items import MAX_ITEMS

MAX_BYTES: Final = 32 * MAX_ITEMS  # that say which items have which properties; 6 to 10 each
MAX_LISTS: Final = 4  # of properties
MAX_NESTING: Final = 4  # of derived items; ordinary files have a grid, perhaps turned by another
Areas = dict[int, int]  # number of an item -> pixels


def pixels_of_parts(data: bytes, boxes: list[Box], unknown_area: int) -> int:
    """The most that is decoded for the parts of one item, 0 where none has parts.

    A part of no declared size counts as `unknown_area`. Raises ValueError for more references than
    any file has, for deeper nesting and for items that contain themselves.
    """
    parts = _parts(data, boxes)
    areas = _areas(data, boxes)
    totals: Areas = {}
    for _ in range(MAX_NESTING):
        totals |= {
            item: sum(max(areas.get(part, unknown_area), totals.get(part, 0)) for part in numbers)
            for item, numbers in parts.items()
            if all(part in totals or part not in parts for part in numbers)
        }
        if len(totals) == len(parts):
            return max(totals.values(), default=0)
    raise ValueError("items within items within items")


def _parts(data: bytes, boxes: list[Box]) -> dict[int, list[int]]:
    """The numbers of the items that each derived item is made of, as often as it names them."""
    parts: dict[int, list[int]] = {}
    num_parts = 0
    for box in boxes:
        if box.kind == b"iref":
            width = 4 if data[box.start : box.start + 1] > b"\0" else 2
            for reference in box_children(data, box, 4):
                at = reference.start
                count = number(data, at + width, 2) if reference.kind == b"dimg" else 0
                num_parts += 1 + count
                if num_parts > MAX_ITEMS:
                    raise ValueError("more references than a file has")
                if count:
                    first = at + width + 2
                    parts.setdefault(number(data, at, width), []).extend(
                        number(data, first + index * width, width) for index in range(count)
                    )
    return parts


def _areas(data: bytes, boxes: list[Box]) -> Areas:
    """The largest that an item's properties declare, where any does."""
    num_bytes = sum(box.end - box.start for box in boxes if box.kind == b"ipma")
    if num_bytes > MAX_BYTES or sum(box.kind == b"ipco" for box in boxes) > MAX_LISTS:
        raise ValueError("more properties than a file has")
    lists = [  # one in an ordinary file; of several, who knows which one counts
        [_area(data, child) for child in islice(box_children(data, box, 0), MAX_ITEMS)]
        for box in boxes
        if box.kind == b"ipco"
    ]
    areas: Areas = {}
    for box in boxes:
        if box.kind == b"ipma":
            for item, index in _associations(data, box):
                for properties in lists:
                    if 0 < index <= len(properties) and properties[index - 1]:
                        areas[item] = max(areas.get(item, 0), properties[index - 1])
    return areas


def _associations(data: bytes, box: Box) -> Iterator[tuple[int, int]]:
    """Number of an item, number of one of its properties; these count from 1."""
    item_width = 4 if data[box.start : box.start + 1] > b"\0" else 2
    width = 2 if number(data, box.start + 3, 1) & 1 else 1
    at = box.start + 8
    for _ in range(number(data, box.start + 4, 4)):
        item, count = number(data, at, item_width), number(data, at + item_width, 1)
        at += item_width + 1
        for _ in range(count):
            yield item, number(data, at, width) & (0x7FFF if width == 2 else 0x7F)
            at += width
        if at > box.end:
            raise ValueError("properties behind the end of their box")


def _area(data: bytes, box: Box) -> int:
    """Of an `ispe` box: version and flags, width, height; 0 of others."""
    if box.kind != b"ispe":
        return 0
    return number(data, box.start + 4, 4) * number(data, box.start + 8, 4)

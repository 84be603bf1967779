"""The boxes of an AVIF or HEIC file: what its reader allocates, and how its colours are stored.

ISO/IEC 14496-12 (ISO base media file format), 23008-12 (HEIF).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from imaging.decode.formats import ImageFormat, too_complex

# Boxes that hold boxes -> the bytes before these.
CONTAINERS: Final = {
    **dict.fromkeys((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"iprp", b"ipco"), 0),
    **{b"meta": 4, b"stsd": 8, b"av01": 78},
}
MAX_BOXES: Final = 4096  # ordinary files have some dozens, in tiles of 512 px a few hundred
MAX_DEPTH: Final = 8


@dataclass(frozen=True)
class IsobmffStructure:
    """What an image says about itself, and the items and tracks in its file."""

    size: tuple[int, int]  # (width, height) px of the largest of them, (0, 0) if there is none
    num_boxes: int  # counted up to MAX_BOXES + 1
    code_points: tuple[int, int] | None  # primaries and transfer function (Rec. ITU-T H.273)


def read_structure(data: bytes) -> IsobmffStructure:
    """Takes any bytes: what is damaged ends the walk over the boxes."""
    sizes = [(0, 0)]
    code_points = None
    num_boxes = 0
    for kind, start, end in _boxes(data, 0, len(data), MAX_DEPTH):
        num_boxes += 1
        if num_boxes > MAX_BOXES:
            break
        body = data[start : min(end, start + 100)]
        if kind == b"ispe":  # version and flags, width, height
            sizes.append((_number(body[4:8]), _number(body[8:12])))
        elif kind == b"tkhd":  # width and height are the last, with 16 bits of fraction
            sizes.append((_number(data[end - 8 : end - 6]), _number(data[end - 4 : end - 2])))
        elif kind == b"av01":
            sizes.append((_number(body[24:26]), _number(body[26:28])))
        elif kind == b"colr" and body[:4] == b"nclx" and code_points is None:
            code_points = (_number(body[4:6]), _number(body[6:8]))
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return IsobmffStructure((width, height), num_boxes, code_points)


def check_structure(isobmff: IsobmffStructure, name: ImageFormat) -> None:
    """Raises UnreadableImage where there are too many parts, ValueError for a file without size."""
    if isobmff.num_boxes > MAX_BOXES:
        raise too_complex(name)
    if 0 in isobmff.size:
        raise ValueError("no size")


def ends_early(data: bytes) -> bool:
    """Whether the file stops within its last box, or before the boxes that hold pixels."""
    end = 0
    kinds: set[bytes] = set()
    while end + 8 <= len(data) and len(kinds) < MAX_BOXES:
        kinds.add(data[end + 4 : end + 8])
        size = _size(data, end)
        if size is None:
            break
        end += size
    return end > len(data) or b"mdat" not in kinds


def _boxes(data: bytes, start: int, end: int, depth: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, and start and end of the content, of each box and of those inside of it."""
    while start + 8 <= end:
        size = _size(data, start)
        kind = data[start + 4 : start + 8]
        header = 16 if data[start : start + 4] == b"\0\0\0\1" else 8
        stop = end if size is None else min(start + size, end)
        yield kind, start + header, stop
        if kind in CONTAINERS and depth:
            yield from _boxes(data, start + header + CONTAINERS[kind], stop, depth - 1)
        start = stop


def _size(data: bytes, start: int) -> int | None:
    """Of a box with its header; None if it goes on to the end of the file, or is damaged."""
    size = _number(data[start : start + 4])
    if size == 1:
        size = _number(data[start + 8 : start + 16])
    return size if size >= 8 else None


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")

"""What an AVIF or HEIC file says about itself: what its reader allocates, and its colours.

ISO/IEC 23008-12 (HEIF).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

from imaging.decode.formats import ImageFormat, too_complex
from imaging.decode.heif import av1
from imaging.decode.heif.boxes import Box, box_size, number, read_boxes
from imaging.decode.heif.derived import pixels_of_parts
from imaging.decode.heif.items import heads_of_pictures

MAX_BOXES: Final = 4096  # ordinary files have some dozens, in tiles of 512 px a few hundred

# Of the tiles and layers of a picture, in its own pixels. Tiles may reach beyond the last row and
# column, of a small picture by a multiple of its size, but such tiles do not take long.
MAX_PARTS: Final = 2
MIN_PARTS_LIMIT: Final = 16_000_000  # px: below a second


@dataclass(frozen=True)
class HeifStructure:
    """What an image says about itself, and the items and tracks in its file."""

    size: tuple[int, int]  # (width, height) px of the largest of them, (0, 0) if there is none
    num_boxes: int  # counted up to MAX_BOXES + 1
    # Primaries and transfer function (Rec. ITU-T H.273), where all that declare any agree: those
    # of a gain map or a thumbnail are not the picture's.
    code_points: tuple[int, int] | None
    av1_size: tuple[int, int] | None  # of the largest AV1 picture, (0, 0) if none; None: unknown
    num_part_pixels: int | None  # decoded for the parts of an item at most; None: beyond counting


def read_structure(data: bytes) -> HeifStructure:
    """Takes any bytes: what is damaged ends the walk over the boxes."""
    boxes = list(itertools.islice(read_boxes(data), MAX_BOXES + 1))
    sizes = [_size(data, box) for box in boxes]
    colours = [box.head(data) for box in boxes if box.kind == b"colr"]
    points = {(number(body, 4, 2), number(body, 6, 2)) for body in colours if body[:4] == b"nclx"}
    size = max(sizes, key=_area, default=(0, 0))
    return HeifStructure(
        size=size,
        num_boxes=len(boxes),
        code_points=points.pop() if len(points) == 1 else None,
        av1_size=_largest_av1_picture(data, boxes),
        num_part_pixels=_num_part_pixels(data, boxes, _area(size)),
    )


def check_structure(heif: HeifStructure, name: ImageFormat) -> None:
    """Raises UnreadableImage for too many parts, ValueError for a file of unknown or untrue size.

    libheif refuses by itself a HEVC picture that is larger than its box says.
    """
    if heif.num_boxes > MAX_BOXES:
        raise too_complex(name)
    if 0 in heif.size:
        raise ValueError("no size")
    limit = max(MAX_PARTS * _area(heif.size), MIN_PARTS_LIMIT)
    if heif.num_part_pixels is None or heif.num_part_pixels > limit:
        raise too_complex(name)
    if heif.av1_size is None:
        raise ValueError("a picture of unknown size")
    if _area(heif.av1_size) > _area(heif.size):
        raise ValueError(f"a picture of {heif.av1_size} in {heif.size}")


def ends_early(data: bytes) -> bool:
    """Whether the file stops within its last box, or before the boxes that hold pixels."""
    end = 0
    kinds: set[bytes] = set()
    while end + 8 <= len(data) and len(kinds) < MAX_BOXES:
        kinds.add(data[end + 4 : end + 8])
        size = box_size(data, end)
        if size is None:
            break
        end += size
    return end > len(data) or b"mdat" not in kinds


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _largest_av1_picture(data: bytes, boxes: list[Box]) -> tuple[int, int] | None:
    """(width, height) px; None where the size of one is not to be found."""
    heads = heads_of_pictures(data, boxes, b"av01")
    try:  # one head after the other, for together they could be far larger than the file
        return max(map(av1.picture_size, heads), key=_area, default=(0, 0))
    except (IndexError, ValueError):
        return None


def _num_part_pixels(data: bytes, boxes: list[Box], unknown_area: int) -> int | None:
    try:
        return pixels_of_parts(data, boxes, unknown_area)
    except ValueError:
        return None


def _size(data: bytes, box: Box) -> tuple[int, int]:
    """(width, height) px that a box declares, of an item or a track."""
    if box.kind == b"ispe":  # version and flags, width, height
        return number(data, box.start + 4, 4), number(data, box.start + 8, 4)
    if box.kind == b"tkhd":  # the last two, with 16 bits of fraction
        return number(data, box.end - 8, 2), number(data, box.end - 4, 2)
    if box.kind == b"av01":
        return number(data, box.start + 24, 2), number(data, box.start + 26, 2)
    return 0, 0

"""The canvas of a WebP, which its reader allocates as soon as it opens the file, and its frame.

https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

from typing import Final

from imaging.decode.canvas import Canvas

MAX_CHUNKS: Final = 100  # before the first frame; ordinary files have three


def canvas_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) px, None where a damaged header holds no size."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X" and len(body) == 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) == 10:
        bits = int.from_bytes(body[6:10], "little")
        return bits & 0x3FFF, bits >> 16 & 0x3FFF
    return None


def canvas_of_animation(data: bytes) -> Canvas | None:
    """The part that the first frame covers; None where there is no frame, as in a still image."""
    size = canvas_size(data)
    start = 12
    for _ in range(MAX_CHUNKS):
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        body = data[start + 8 : start + 20]
        if data[start : start + 4] == b"ANMF" and len(body) == 12 and size:
            x, y, width, height = (
                int.from_bytes(body[at : at + 3], "little") for at in range(0, 12, 3)
            )
            left, top = 2 * x, 2 * y
            return Canvas(size, (left, top, left + width + 1, top + height + 1))
        start += 8 + length + length % 2
    return None

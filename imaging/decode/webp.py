"""The canvas of a WebP, which its reader allocates as soon as it opens the file.

https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations


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

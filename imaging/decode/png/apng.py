"""An animated PNG whose default image is no frame -> a plain PNG of its first frame.

Such a default image is for programs that know no APNG, often a notice that says so. Pillow would
lay the first frame over it. https://www.w3.org/TR/png-3/#apng-frame-based-animation
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from imaging.decode.canvas import Canvas
from imaging.decode.png.structure import MAX_CHUNKS, SIGNATURE, PngStructure, chunk_offsets

HEADER_BYTES: Final = 13  # of the content of IHDR
CONTROL_BYTES: Final = 26  # of fcTL


def first_frame(data: bytes, png: PngStructure) -> tuple[bytes, Canvas] | None:
    """A PNG of the frame, and where it lies; None where the default image is the one to show."""
    if not png.is_animated or png.num_chunks > MAX_CHUNKS:
        return None
    chunks = _chunks(data)
    before = []  # the pixels of the default image
    for name, body in chunks:
        if name == b"fcTL":
            return None  # the default image is the first frame
        if name == b"IDAT":
            break
        before.append((name, body))
    control = next((body for name, body in chunks if name == b"fcTL"), b"")
    name, header = before[0] if before else (b"", b"")
    if len(control) != CONTROL_BYTES or name != b"IHDR" or len(header) != HEADER_BYTES:
        return None
    width, height, left, top = struct.unpack_from(">IIII", control, 4)
    canvas = Canvas(struct.unpack_from(">II", header), (left, top, left + width, top + height))
    if not canvas.is_valid:
        return None
    frame = [(b"IHDR", control[4:12] + header[8:])]
    frame += [(name, body) for name, body in before[1:] if name != b"acTL"]
    for name, body in chunks:
        if name == b"fcTL":
            break
        frame.append((b"IDAT", body[4:]) if name == b"fdAT" else (name, body))
    if frame[-1][0] != b"IEND":
        frame.append((b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(name, body) for name, body in frame), canvas


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each complete chunk."""
    for start in chunk_offsets(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            return
        yield data[start + 4 : start + 8], data[start + 8 : end - 4]


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

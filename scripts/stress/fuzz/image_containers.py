"""Image files written byte by byte, so that a header can say anything about its content."""

from __future__ import annotations

import struct
import zlib


def png(width: int, height: int, pixels: bytes | None = None, before: bytes = b"") -> bytes:
    """8-bit grey PNG with valid checksums; `before` is chunks that precede the pixel data.

    `pixels` is the compressed content of IDAT; by default zeros, at most 100 kB of them.
    """
    if pixels is None:
        pixels = zlib.compress(bytes(min(height * (width + 1), 100_000)))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            png_chunk(b"IHDR", header),
            before,
            png_chunk(b"IDAT", pixels),
            png_chunk(b"IEND", b""),
        )
    )


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def gif_header(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(3)


def gif_frame(width: int, height: int) -> bytes:
    """One frame of a pixel's worth of data, and the file's trailer."""
    return b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\2\2\x4c\1\0;"


def bmp_header(width: int, height: int) -> bytes:
    """24-bit BMP, rows from top to bottom."""
    return b"BM" + struct.pack("<IIIIii", 900, 0, 54, 40, width, -height) + b"\1\0\x18"


def jpeg_header(width: int, height: int) -> bytes:
    """SOI and a baseline frame header of three components."""
    return b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width) + b"\3"


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    """A RIFF container of (name, content) chunks."""
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(width: int, height: int) -> tuple[bytes, bytes]:
    """The VP8X chunk of an animation's canvas; sides are 24 bits, minus one."""
    sides = ((max(side, 1) - 1 & 0xFFFFFF).to_bytes(3, "little") for side in (width, height))
    return b"VP8X", struct.pack("<I", 16) + b"".join(sides)


def tiff(entries: dict[int, int]) -> bytes:
    """Little-endian TIFF whose one directory of 32-bit values names itself as the next one."""
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + b"\x08\0\0\0"


def exif_pointing_to(offset: int, gps_values: int, next_directory: int) -> bytes:
    """EXIF whose EXIF, GPS and interoperability directories all lie at `offset`."""
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", 3)
        + struct.pack("<HHII", 0x8769, 4, 1, offset)
        + struct.pack("<HHII", 0x8825, 4, gps_values, offset)
        + struct.pack("<HHII", 0xA005, 13, 1, offset)
        + struct.pack("<I", next_directory)
    )

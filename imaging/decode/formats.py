"""What the bytes of an image file say about themselves, read without decoding a pixel."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Final

from imaging.decode import tiff
from imaging.decode.jpeg import START_OF_SCAN, is_arithmetic
from imaging.errors import UnreadableImage, UnsupportedImage

READ_FORMATS: Final = ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF")

# How a file begins: the formats read, then those that are often sent besides and deserve a name.
SIGNATURES: Final[dict[str, re.Pattern[bytes]]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    # "BM" begins many a text; at byte 14 follows one of seven header sizes
    "BMP": re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "HEIC": re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi", re.DOTALL),
    "PDF": re.compile(rb"\s*%PDF-"),
    "SVG": re.compile(rb"[^\0]{0,1024}?<svg\b"),
}

# How a complete file ends, where its format has a mark for it.
END_MARKS: Final[dict[str, bytes]] = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}

# Parts that a file may repeat at will and that cost far more than their bytes: every scan walks the
# whole JPEG (7000x7000 with 10 000 scans is 0.9 MB and five minutes), every EXIF segment is added
# to a copy of all before it, a compressed profile or text unfolds to 1 MB.
COSTLY_PARTS: Final[dict[str, tuple[bytes, ...]]] = {
    "JPEG": (START_OF_SCAN, b"Exif\0\0"),
    "PNG": (b"iCCP", b"iTXt"),
}
MAX_COSTLY_PARTS: Final = 100  # ordinary files have about ten; libtiff too stops at 100 scans

# How a frame of an animation is announced. Pixels look so by chance once in 16 MB.
FRAME_MARKS: Final[dict[str, bytes]] = {"WebP": b"ANMF", "PNG": b"fcTL", "GIF": b"!\xf9\x04"}

# Pillow reads segments and chunks one by one, in Python, and keeps a JPEG's: 31 MB of empty ones
# are 10 s and 1 GB. Ordinary JPEGs have a few dozen; PNGs one for every 8 kB of pixels or more.
MAX_JPEG_SEGMENTS: Final = 1000
MAX_PNG_CHUNKS: Final = 20_000


def format_of(data: bytes) -> str:
    """The one of READ_FORMATS that the first bytes announce. Raises UnsupportedImage."""
    name = next((name for name, signature in SIGNATURES.items() if signature.match(data)), None)
    if name in READ_FORMATS:
        return name
    found = f"{name} files are" if name else "The format of these bytes is"
    raise UnsupportedImage(
        "unsupported_format",
        f"{found} not read. Send one of: {', '.join(READ_FORMATS)}.",
        formats=list(READ_FORMATS),
    )


def check_structure(data: bytes, name: str) -> None:
    """Refuse a file built to cost far more time or memory than its bytes and its size tell.

    Raises UnreadableImage, and ValueError for one that is damaged, or of a kind not read.
    """
    parts = max((data.count(mark) for mark in COSTLY_PARTS.get(name, ())), default=0)
    has_many_pieces = (name == "JPEG" and _more_than(MAX_JPEG_SEGMENTS, _jpeg_segments(data))) or (
        name == "PNG" and _more_than(MAX_PNG_CHUNKS, _png_chunks(data))
    )
    if name == "JPEG" and is_arithmetic(data):
        raise ValueError("arithmetic coding")
    if name == "TIFF":
        try:
            tiff.check_layout(data)
        except tiff.TooManyPieces:
            has_many_pieces = True
    if parts > MAX_COSTLY_PARTS or has_many_pieces:
        raise UnreadableImage(
            "image_too_complex",
            f"The {name} file is split into too many parts. Save it again as plain JPEG or PNG.",
        )


def frames_in(data: bytes, name: str) -> int:
    """How many frames the file holds, counted without decoding one; 1 where it is no animation.

    A GIF's first frame may go without a mark, and is then not counted.
    """
    return max(1, data.count(FRAME_MARKS[name])) if name in FRAME_MARKS else 1


def canvas_of(data: bytes, name: str) -> tuple[int, int] | None:
    """(width, height) px of a WebP file, whose reader allocates its canvas as soon as it opens.

    None for other formats, and where a damaged header holds no size.
    https://developers.google.com/speed/webp/docs/riff_container
    """
    if name != "WebP":
        return None
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


def ends_early(data: bytes, name: str) -> bool:
    """Whether a file that failed to decode stops before the end that it announces."""
    if name in END_MARKS:
        return not data.rstrip(b"\0\r\n").endswith(END_MARKS[name])
    if name == "WebP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if name == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    return len(data) < tiff.extent(data)


def _more_than(most: int, pieces: Iterator[int]) -> bool:
    """Whether there are more; stops counting there."""
    return next(itertools.islice(pieces, most, None), None) is not None


def _jpeg_segments(data: bytes) -> Iterator[int]:
    """Where each segment before the pixels begins (ITU-T T.81, section B.1.1)."""
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF and data[start + 1] != 0xDA:
        yield start
        # Fill bytes, a byte stuffed where none belongs, and markers by themselves have no length
        has_length = 0xC0 <= data[start + 1] < 0xFF and not 0xD0 <= data[start + 1] <= 0xD9
        length = int.from_bytes(data[start + 2 : start + 4], "big") if has_length else 0
        start += 2 + length


def _png_chunks(data: bytes) -> Iterator[int]:
    """Where each chunk begins (PNG, third edition, section 5.3)."""
    start = 8
    while start < len(data):
        yield start
        start += 12 + int.from_bytes(data[start : start + 4], "big")

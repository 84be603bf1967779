"""The structure of a PNG: what its pixels are read by, and how long that takes besides its size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from imaging.decode.formats import too_complex
from imaging.decode.png.colour import COLOUR_CHUNKS

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

# Chunks whose compressed content Pillow unpacks to 1 MB each. Ordinary files have about ten.
PROFILE: Final = b"iCCP"
TEXT: Final = b"iTXt"
MAX_COMPRESSED_CHUNKS: Final = 100  # of either kind

# Pillow reads chunks one by one, in Python: 31 MB of empty ones take 7 s. Ordinary files have one
# for every 8 kB of pixels or more.
MAX_CHUNKS: Final = 20_000

# Values of the colour type.
GREY: Final = 0
RGB: Final = 2
GREY_ALPHA: Final = 4


@dataclass(frozen=True)
class PngStructure:
    """How a PNG's samples are stored, and counts of what it may repeat at will."""

    bits: int  # of a sample
    colour_type: int
    chunks: Mapping[bytes, bytes]  # name -> content, of the first of each of COLOUR_CHUNKS
    num_profiles: int
    num_texts: int
    num_chunks: int  # counted up to MAX_CHUNKS + 1
    is_animated: bool


def read_structure(data: bytes) -> PngStructure:
    """Takes any bytes: what is damaged ends the walk over the chunks."""
    num_chunks = 0
    chunks: dict[bytes, bytes] = {}
    has_pixels = is_animated = False
    for start in chunk_offsets(data):
        num_chunks += 1
        if num_chunks > MAX_CHUNKS:
            break
        name = data[start + 4 : start + 8]
        has_pixels |= name == b"IDAT"
        is_animated |= name == b"acTL" and not has_pixels
        if name in COLOUR_CHUNKS and not has_pixels:
            length = int.from_bytes(data[start : start + 4], "big")
            chunks.setdefault(name, data[start + 8 : start + 8 + length])
    return PngStructure(
        bits=data[24] if len(data) > 25 else 0,
        colour_type=data[25] if len(data) > 25 else 0,
        chunks=chunks,
        num_profiles=data.count(PROFILE),
        num_texts=data.count(TEXT),
        num_chunks=num_chunks,
        is_animated=is_animated,
    )


def check_structure(png: PngStructure) -> None:
    """Raises UnreadableImage where there are too many parts."""
    if max(png.num_profiles, png.num_texts) > MAX_COMPRESSED_CHUNKS or png.num_chunks > MAX_CHUNKS:
        raise too_complex("PNG")


def chunk_offsets(data: bytes) -> Iterator[int]:
    """The offset of each chunk (PNG, third edition, section 5.3)."""
    start = len(SIGNATURE)
    while start < len(data):
        yield start
        start += 12 + int.from_bytes(data[start : start + 4], "big")

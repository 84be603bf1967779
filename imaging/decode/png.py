"""The structure of a PNG: what decides how long it takes to decode, besides its size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from imaging.decode.formats import too_complex

# Chunks whose compressed content Pillow unpacks to 1 MB each. Ordinary files have about ten.
PROFILE: Final = b"iCCP"
TEXT: Final = b"iTXt"
MAX_COMPRESSED_CHUNKS: Final = 100  # of either kind

# Pillow reads chunks one by one, in Python: 31 MB of empty ones take 7 s. Ordinary files have one
# for every 8 kB of pixels or more.
MAX_CHUNKS: Final = 20_000


@dataclass(frozen=True)
class PngStructure:
    """Counts of what a PNG may repeat at will."""

    num_profiles: int
    num_texts: int
    num_chunks: int  # counted up to MAX_CHUNKS + 1


def read_structure(data: bytes) -> PngStructure:
    """Takes any bytes: what is damaged ends the walk over the chunks."""
    return PngStructure(
        num_profiles=data.count(PROFILE),
        num_texts=data.count(TEXT),
        num_chunks=sum(1 for _ in itertools.islice(_chunks(data), MAX_CHUNKS + 1)),
    )


def check_structure(png: PngStructure) -> None:
    """Raises UnreadableImage where there are too many parts."""
    if max(png.num_profiles, png.num_texts) > MAX_COMPRESSED_CHUNKS or png.num_chunks > MAX_CHUNKS:
        raise too_complex("PNG")


def _chunks(data: bytes) -> Iterator[int]:
    """The offset of each chunk (PNG, third edition, section 5.3)."""
    start = 8
    while start < len(data):
        yield start
        start += 12 + int.from_bytes(data[start : start + 4], "big")

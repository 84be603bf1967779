"""What a PNG's chunks say about its colours.

PNG, third edition, section 4.3: cICP wins over iCCP, that over sRGB, and that over gAMA and cHRM.
https://www.w3.org/TR/png-3/#color-chunk-precendence
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from imaging.colour.encoding import (
    ColourEncoding,
    are_known,
    encoding_of,
    encoding_of_code_points,
)
from imaging.colour.primaries import Chromaticities
from imaging.colour.transfer import Transfer, power

COLOUR_CHUNKS: Final = frozenset((b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"sBIT"))

# gAMA times 2.2 that is as good as sRGB: programs write 45455 for it. libpng has the same limits.
SAME_GAMMA: Final = 0.05
SCALE: Final = 100_000  # of the numbers in gAMA and cHRM
GAMMA_RANGE: Final = (1_000, 1_000_000)  # 0.01 to 10


def encoding_of_chunks(chunks: Mapping[bytes, bytes]) -> ColourEncoding | None:
    """None for sRGB, for a profile (Pillow reads it), and where nothing readable is declared."""
    points = _code_points(chunks)
    if points:
        return encoding_of_code_points(*points)
    if b"iCCP" in chunks or b"sRGB" in chunks:
        return None
    return encoding_of(_chromaticities(chunks), _transfer(chunks))


def has_profile(chunks: Mapping[bytes, bytes]) -> bool:
    """Whether the colours are those of the file's ICC profile."""
    return b"iCCP" in chunks and _code_points(chunks) is None


def significant_bits(chunks: Mapping[bytes, bytes]) -> int | None:
    """Of the channel that has most; None where it is not declared."""
    bits = max(chunks.get(b"sBIT", b""), default=0)
    return bits if 1 <= bits <= 16 else None


def _code_points(chunks: Mapping[bytes, bytes]) -> tuple[int, int] | None:
    """Primaries and transfer function of cICP; None where it says nothing that is understood."""
    body = chunks.get(b"cICP", b"")
    return (body[0], body[1]) if len(body) == 4 and are_known(body[0], body[1]) else None


def _transfer(chunks: Mapping[bytes, bytes]) -> Transfer | None:
    """None for sRGB's."""
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4], "big")
    low, high = GAMMA_RANGE
    if not low <= gamma <= high or abs(gamma / SCALE * 2.2 - 1) < SAME_GAMMA:
        return None
    return power(SCALE / gamma)


def _chromaticities(chunks: Mapping[bytes, bytes]) -> Chromaticities | None:
    body = chunks.get(b"cHRM", b"")
    if len(body) != 32:
        return None
    x_or_y = [number / SCALE for number in struct.unpack(">8I", body)]
    return Chromaticities(*zip(x_or_y[::2], x_or_y[1::2]))

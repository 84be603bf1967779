"""Transfer functions: a stored value -> light.

Rec. ITU-T H.273 numbers the usual ones, as code points; PNG's gAMA gives an exponent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Transfer = Callable[[Floats], Floats]  # 0..1 as stored -> light, of which 1 is white

# Light of HDR whose white is that of paper (ITU-R BT.2408), cd/m2; brighter light is clipped.
HDR_WHITE: Final = 203.0


def srgb_encode(light: Floats) -> Floats:
    """IEC 61966-2-1."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def power(exponent: float) -> Transfer:
    return lambda stored: stored**exponent


def _pq(stored: Floats) -> Floats:
    """SMPTE ST 2084."""
    root = stored ** (32 / 2523)
    light = (root - 0.8359375).clip(0) / (18.8515625 - 18.6875 * root)
    return 10_000 / HDR_WHITE * light ** (16384 / 2610)


def _hlg(stored: Floats) -> Floats:
    """ARIB STD-B67, on a screen of 1000 cd/m2 (ITU-R BT.2100)."""
    scene = np.where(
        stored <= 0.5, stored**2 / 3, (np.exp((stored - 0.55991073) / 0.17883277) + 0.28466892) / 12
    )
    return 1000 / HDR_WHITE * scene**1.2


# Code points of H.273, table 3. The others are sRGB, close to it, or unknown.
TRANSFERS: Final[dict[int, Transfer]] = {
    4: power(2.2),
    5: power(2.8),
    8: power(1.0),
    16: _pq,
    18: _hlg,
}

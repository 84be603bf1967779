"""Red, green and blue of a colour space, and an ICC profile of them.

Rec. ITU-T H.273 numbers the usual ones, as code points; PNG's cHRM gives them as numbers.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Chromaticities(NamedTuple):
    """CIE 1931 x, y."""

    white: tuple[float, float]
    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]


D65: Final = (0.3127, 0.3290)
D50_XYZ: Final = (0.9642, 1.0, 0.8249)
SRGB: Final = Chromaticities(D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))

# Code points of H.273, table 2. The others are sRGB's, unknown, or of no camera or screen.
PRIMARIES: Final = {
    5: Chromaticities(D65, (0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),  # PAL
    6: Chromaticities(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),  # NTSC
    7: Chromaticities(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: Chromaticities(D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    11: Chromaticities((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # DCI
    12: Chromaticities(D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}

# Libraries and cameras round sRGB's primaries to two or three digits.
SAME_CHROMATICITY: Final = 0.005

# Bradford's cones, by which white is adapted to the profiles' D50 (ICC.1, annex E).
BRADFORD: Final = np.array(
    ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
)


def is_srgb(primaries: Chromaticities) -> bool:
    return bool(np.allclose(primaries, SRGB, rtol=0, atol=SAME_CHROMATICITY))


def spans_colours(primaries: Chromaticities) -> bool:
    """Whether the three make a triangle, and white lies in it."""
    points = np.array(primaries)
    if (points[:, 1] <= 0).any() or points.max() > 10:
        return False
    light = np.linalg.solve(_xyz(points[1:]).T, _xyz(points[:1])[0]) if _area(points) else -1
    return bool(np.all(light > 0))


def matrix_profile(primaries: Chromaticities) -> bytes:
    """An ICC profile of these primaries with sRGB's transfer function."""
    points = np.array(primaries)
    white, colours = _xyz(points[:1])[0], _xyz(points[1:])
    light = colours * np.linalg.solve(colours.T, white)[:, None]
    gains = (BRADFORD @ D50_XYZ) / (BRADFORD @ white)
    adapted = light @ (np.linalg.inv(BRADFORD) @ np.diag(gains) @ BRADFORD).T

    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0)
    curve += _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {
        b"wtpt": b"XYZ " + bytes(4) + _fixed(*D50_XYZ),
        **{
            name: b"XYZ " + bytes(4) + _fixed(*colour)
            for name, colour in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted)
        },
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    start = 132 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(content), len(value))
        content += value
    header = struct.pack(">II4s4s4s", start + len(content), 0, b"mntr", b"RGB ", b"XYZ ")
    head = header[:8] + b"\x04\x30\0\0" + header[8:]
    head = head.ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + _fixed(*D50_XYZ)
    return head.ljust(128, b"\0") + table + content


def _area(points: Floats) -> bool:
    return bool(abs(np.linalg.det(_xyz(points[1:]))) > 1e-6)


def _xyz(points: Floats) -> Floats:
    """(N, 2) x, y -> (N, 3) X, Y, Z with Y = 1."""
    x, y = points.T
    return np.stack((x / y, np.ones_like(y), (1 - x - y) / y), axis=1)


def _fixed(*numbers: float) -> bytes:
    """s15Fixed16Number."""
    return struct.pack(f">{len(numbers)}i", *(round(65536 * number) for number in numbers))

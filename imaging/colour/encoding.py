"""Colours described by primaries and a transfer function: PNG's chunks, AVIF's and HEIC's `nclx`.

Rec. ITU-T H.273 numbers both, as code points; PNG's gAMA and cHRM give them as numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.colour.icc import convert_to_srgb

Floats = npt.NDArray[np.float64]
Transfer = Callable[[Floats], Floats]  # 0..1 as stored -> light, of which 1 is white


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


@dataclass(frozen=True)
class ColourEncoding:
    """How colours are stored, where not as in sRGB."""

    transfer: Transfer | None  # None: sRGB's
    primaries: Chromaticities | None  # None: sRGB's

    def tone_table(self, num_levels: int) -> npt.NDArray[np.uint8]:
        """A stored level, 0 to `num_levels` - 1 -> the level of sRGB with as much light, 0..255."""
        stored = np.linspace(0, 1, num_levels)
        encoded = stored if self.transfer is None else srgb_encode(self.transfer(stored))
        return np.rint(255 * encoded).astype(np.uint8)

    def convert_to_srgb(self, image: Image.Image) -> Image.Image:
        """RGB -> RGB, perhaps the same image, changed."""
        if self.transfer is not None:
            image = image.point(self.tone_table(256).tolist() * 3)
        return self.convert_primaries(image)

    def convert_primaries(self, image: Image.Image) -> Image.Image:
        """RGB with sRGB's transfer function -> sRGB, perhaps the same image, changed."""
        if self.primaries is None:
            return image
        return convert_to_srgb(image, _profile(self.primaries))


def encoding_of(
    primaries: Chromaticities | None, transfer: Transfer | None
) -> ColourEncoding | None:
    """None for sRGB, and for primaries that do not span a triangle."""
    if primaries is not None and _is_close(primaries, SRGB):
        primaries = None
    if primaries is not None and not _spans_colours(primaries):
        primaries = None
    return None if primaries is None and transfer is None else ColourEncoding(transfer, primaries)


def encoding_of_code_points(primaries: int, transfer: int) -> ColourEncoding | None:
    """None for sRGB, and for what is unknown."""
    return encoding_of(PRIMARIES.get(primaries), TRANSFERS.get(transfer))


def _is_close(first: Chromaticities, second: Chromaticities) -> bool:
    return bool(np.allclose(first, second, rtol=0, atol=SAME_CHROMATICITY))


def _spans_colours(primaries: Chromaticities) -> bool:
    points = np.array(primaries)
    if (points[:, 1] <= 0).any() or points.max() > 10:
        return False
    light = np.linalg.solve(_xyz(points[1:]).T, _xyz(points[:1])[0]) if _area(points) else -1
    return bool(np.all(light > 0))  # white lies among the primaries


def _area(points: Floats) -> bool:
    return bool(abs(np.linalg.det(_xyz(points[1:]))) > 1e-6)


def _xyz(points: Floats) -> Floats:
    """(N, 2) x, y -> (N, 3) X, Y, Z with Y = 1."""
    x, y = points.T
    return np.stack((x / y, np.ones_like(y), (1 - x - y) / y), axis=1)


def _profile(primaries: Chromaticities) -> bytes:
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


def _fixed(*numbers: float) -> bytes:
    """s15Fixed16Number."""
    return struct.pack(f">{len(numbers)}i", *(round(65536 * number) for number in numbers))

"""Colours described by primaries and a transfer function, in place of a profile.

So do PNG's chunks, and `nclx` in AVIF and HEIC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.colour.icc import convert_to_srgb
from imaging.colour.primaries import (
    PRIMARIES,
    Chromaticities,
    is_srgb,
    matrix_profile,
    spans_colours,
)
from imaging.colour.transfer import TRANSFERS, Transfer, srgb_encode

# Code points of H.273, tables 2 and 3: BT.709, whose pictures are shown like sRGB's, and its kin.
SRGB_PRIMARIES: Final = 1
SRGB_TRANSFERS: Final = (1, 6, 13, 14, 15)


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
        return convert_to_srgb(image, matrix_profile(self.primaries))


def encoding_of(
    primaries: Chromaticities | None, transfer: Transfer | None
) -> ColourEncoding | None:
    """None for sRGB, and for primaries that do not span a triangle."""
    if primaries is not None and (is_srgb(primaries) or not spans_colours(primaries)):
        primaries = None
    return None if primaries is None and transfer is None else ColourEncoding(transfer, primaries)


def are_known(primaries: int, transfer: int) -> bool:
    """Whether both code points are sRGB's, as good as those, or of an encoding that is obeyed."""
    return (primaries == SRGB_PRIMARIES or primaries in PRIMARIES) and (
        transfer in SRGB_TRANSFERS or transfer in TRANSFERS
    )


def encoding_of_code_points(primaries: int, transfer: int) -> ColourEncoding | None:
    """None for sRGB, and for what is unknown."""
    return encoding_of(PRIMARIES.get(primaries), TRANSFERS.get(transfer))

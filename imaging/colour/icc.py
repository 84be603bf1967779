"""ICC profiles: colours as a device has them -> sRGB, by LittleCMS.

ICC.1:2022, https://www.color.org/icc_specs2.xalter
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageCms

from imaging.colour.colour_table import ColourTable, colour_table, convert_in_place

# The largest ordinary profiles, of CMYK printers, have 3 MB.
MAX_BYTES: Final = 4 * 1024 * 1024
HEADER_BYTES: Final = 128
MAX_TAGS: Final = 100

# Pillow's mode -> the colour space of profiles for it.
SPACES: Final = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}
# Of scanners and cameras, displays, printers, and conversions; others do not describe an image.
CLASSES: Final = (b"scnr", b"mntr", b"prtr", b"spac")
CONNECTION_SPACES: Final = (b"XYZ ", b"Lab ")

# A chain of any number of steps: 4 MB of them take minutes. Hardly any program writes it.
MULTI_PROCESS: Final = b"mpet"

# Of 0..255: a profile that changes no colour by more is sRGB, of which many are in use.
SRGB_TOLERANCE: Final = 1
PROBE_STEPS: Final = 9  # colours per channel

# The table takes 15 ms to fill, and the conversion of a megapixel 24 (1 core).
MIN_TABLE_PIXELS: Final = 1_000_000

# Profiles in memory: few cameras and displays account for most photos.
CACHED: Final = 8


@dataclass(frozen=True)
class IccConversion:
    """From one profile to sRGB."""

    transform: ImageCms.ImageCmsTransform
    levels: list[int] | None = None  # of sRGB, for each of grey
    table: ColourTable | None = None  # for RGB photos of megapixels

    def __call__(self, image: Image.Image) -> Image.Image:
        """L, RGB or CMYK, as the profile -> RGB; a large RGB image is changed in place."""
        if self.levels is not None:
            return image.point(self.levels).convert("RGB")
        if self.table is not None and image.width * image.height >= MIN_TABLE_PIXELS:
            convert_in_place(image, self.table)
            return image
        return self.transform.apply(image)


def convert_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """L, RGB or CMYK -> RGB; a large RGB image is changed in place.

    A profile that is broken, too large or of another colour space counts as none: the picture is
    worth more than its metadata.
    """
    conversion = _conversion(profile, image.mode) if len(profile) <= MAX_BYTES else None
    return as_rgb(image) if conversion is None else conversion(image)


def as_rgb(image: Image.Image) -> Image.Image:
    """Without a profile. `convert` would copy an RGB image: 20 ms for 12 megapixels."""
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(CACHED)
def _conversion(profile: bytes, mode: str) -> IccConversion | None:
    """None where the profile is not usable, or sRGB itself."""
    if not _is_usable(profile, mode):
        return None
    # Without a cache of the last pixel several threads can use it.
    flags = ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION
    if mode == "L":  # what is made to be fast for grey is 10 levels wrong in the shadows
        flags |= ImageCms.Flags.NOOPTIMIZE
    try:
        transform = ImageCms.ImageCmsTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=flags,
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None
    if mode == "L":
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        return IccConversion(transform, levels=np.asarray(transform.apply(ramp))[0, :, 1].tolist())
    if mode == "CMYK":
        return IccConversion(transform)
    return (
        None
        if _is_identity(transform)
        else IccConversion(transform, table=colour_table(transform.apply))
    )


def _is_usable(profile: bytes, mode: str) -> bool:
    """Whether the profile says that it is one for such an image, and has no endless parts."""
    if len(profile) < HEADER_BYTES + 4 or profile[36:40] != b"acsp":
        return False
    if profile[16:20] != SPACES.get(mode) or profile[12:16] not in CLASSES:
        return False
    (num_tags,) = struct.unpack_from(">I", profile, HEADER_BYTES)
    if profile[20:24] not in CONNECTION_SPACES or num_tags > MAX_TAGS:
        return False
    try:
        tags = [
            struct.unpack_from(">4sII", profile, HEADER_BYTES + 4 + 12 * tag)
            for tag in range(num_tags)
        ]
    except struct.error:
        return False
    return all(profile[start : start + 4] != MULTI_PROCESS for _, start, _ in tags)


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    steps = np.linspace(0, 255, PROBE_STEPS).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    converted = np.asarray(transform.apply(Image.fromarray(colours)))
    return bool((abs(converted.astype(np.int16) - colours) <= SRGB_TOLERANCE).all())

"""A decoded image of any of Pillow's modes -> 8-bit sRGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imaging.colour.encoding import ColourEncoding
from imaging.colour.icc import SPACES, as_rgb, convert_to_srgb
from imaging.colour.levels import to_8_bits
from imaging.colour.transparency import over_white, split_alpha


def to_srgb(image: Image.Image, encoding: ColourEncoding | None = None) -> Image.Image:
    """`encoding` is that of the image's colours, where its file declares one without a profile.

    A profile in `image.info` is converted by; else the colours are taken for sRGB. Numbers wider
    than a byte become one as in `to_8_bits`. Transparency is laid over white. An RGB image may be
    changed in place.
    """
    if image.mode[0] in "IF":  # I;16, I;16B, I, F: one channel wider than a byte
        image = _grey_to_8_bits(image)
    colours, alpha = split_alpha(image)
    if encoding is not None:
        rgb = encoding.convert_to_srgb(as_rgb(colours))
    elif profile := image.info.get("icc_profile"):
        rgb = convert_to_srgb(colours if colours.mode in SPACES else as_rgb(colours), profile)
    else:
        rgb = as_rgb(colours)
    return over_white(rgb, alpha)


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    """Mode L, or LA, from 16 bits, or from integers and floats whose white no header declares."""
    values = np.asarray(image)
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    grey = Image.fromarray(to_8_bits(native, bits=16))
    if "transparency" in image.info:  # a value that PNG declares transparent
        opaque = np.where(values == image.info["transparency"], np.uint8(0), np.uint8(255))
        grey = Image.merge("LA", (grey, Image.fromarray(opaque)))
    if "icc_profile" in image.info:
        grey.info["icc_profile"] = image.info["icc_profile"]
    return grey

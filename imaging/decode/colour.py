"""A decoded image of any of Pillow's modes -> 8-bit RGB."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.decode.levels import to_8_bits


def to_rgb(image: Image.Image) -> Image.Image:
    """Of 16 bits the high byte is taken; other numbers are stretched to 0..255.

    Transparency is laid over white.
    """
    if image.mode[0] in "IF":  # I;16, I;16B, I, F: one channel wider than a byte
        return Image.fromarray(_grey_to_8_bits(image)).convert("RGB")
    if image.mode == "La":  # premultiplied grey, which Pillow converts to nothing but LA
        image = image.convert("LA")
    if image.has_transparency_data:
        # A transparent pixel may have any colour in its file; people saw it on a white page.
        layer = image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(layer, mask=layer)
        return page
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_to_8_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """(H, W) from 16 bits, or from integers and floats whose white no header declares."""
    values = np.asarray(image)
    grey = to_8_bits(values.astype(values.dtype.newbyteorder("="), copy=False), bits=16)
    if "transparency" in image.info:  # a value that PNG declares transparent, over white
        grey[values == image.info["transparency"]] = 255
    return grey

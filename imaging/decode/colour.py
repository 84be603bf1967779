"""A decoded image of any of Pillow's modes -> 8-bit RGB."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from imaging.decode.levels import to_8_bits
from imaging.decode.tiff.codes import BLACK_IS_ZERO, WHITE_IS_ZERO
from imaging.decode.tiff.directory import TiffDirectory


def to_rgb(image: Image.Image, directory: TiffDirectory | None = None) -> Image.Image:
    """`directory` is the image's own, if it comes from a TIFF file.

    Of 16 bits the high byte is taken; other numbers are stretched to 0..255. Transparency is laid
    over white.
    """
    if image.mode[0] in "IF":  # I;16, I;16B, I, F: one channel wider than a byte
        grey = _grey_to_8_bits(image, directory)
        return Image.fromarray(255 - grey if _is_negative(directory) else grey).convert("RGB")
    if image.mode == "La":  # premultiplied grey, which Pillow converts to nothing but LA
        image = image.convert("LA")
    if image.has_transparency_data:
        # A transparent pixel may have any colour in its file; people saw it on a white page.
        layer = image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(layer, mask=layer)
        return page
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_negative(directory: TiffDirectory | None) -> bool:
    """Whether 0 is white, as film and X-ray scanners have it. Pillow handles that for 8 bits."""
    if directory is None:
        return False
    return directory.first(PHOTOMETRIC_INTERPRETATION, BLACK_IS_ZERO) == WHITE_IS_ZERO


def _grey_to_8_bits(image: Image.Image, directory: TiffDirectory | None) -> npt.NDArray[np.uint8]:
    """(H, W) from 12 or 16 bits, or from integers and floats whose white no header declares."""
    values = np.asarray(image)
    bits = directory.first(BITSPERSAMPLE, 16) if directory else 16
    grey = to_8_bits(values.astype(values.dtype.newbyteorder("="), copy=False), bits)
    if "transparency" in image.info:  # a value that PNG declares transparent, over white
        grey[values == image.info["transparency"]] = 255
    return grey

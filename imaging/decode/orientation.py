"""A decoded image of any mode and orientation -> 8-bit RGB, the right way up."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

# EXIF orientation -> the transposition that undoes it (Exif 2.32, tag 0x0112); 1 is upright.
TURNS: Final[dict[object, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Where PNG had no chunk for it, programs wrote EXIF as a text in hex. Pillow splits it into lines:
# 31 MB of short ones would be 0.7 GB. EXIF itself has at most 64 kB.
EXIF_AS_TEXT: Final = "Raw profile type exif"
MAX_EXIF_TEXT: Final = 1 << 18  # characters


def upright_rgb(image: Image.Image) -> Image.Image:
    """Pixels alone: a file's comments and colour profile must not reach what is made from them."""
    turn = TURNS.get(_orientation(image))
    rgb = _rgb(image)
    rgb.info.clear()
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> object:
    """1 to 8; broken EXIF counts as none, for the picture is worth more than its metadata."""
    if len(image.info.get(EXIF_AS_TEXT, "")) > MAX_EXIF_TEXT:
        return None
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # EXIF comes from the same stranger as the pixels
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":  # I;16, I;16B, I, F: one channel wider than a byte
        grey = _grey_to_8_bits(image)
        return Image.fromarray(255 - grey if _is_negative(image) else grey).convert("RGB")
    if image.mode == "La":  # premultiplied grey, which Pillow converts to nothing but LA
        image = image.convert("LA")
    if image.has_transparency_data:
        # Where an image is transparent its file may keep any colour; people saw it on a white page.
        layer = image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(layer, mask=layer)
        return page
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_negative(image: Image.Image) -> bool:
    """Whether 0 is white, as scanners of film and X-rays have it. Of 8 bits Pillow sees to that."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0


def _grey_to_8_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """(H, W) from 12 or 16 bits, or from integers and floats whose white no header declares."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        bits = image.tag_v2[BITSPERSAMPLE][0] if isinstance(image, TiffImageFile) else 16
        high_byte: npt.NDArray[np.uint8] = (values >> (bits - 8)).astype(np.uint8)
        if "transparency" in image.info:  # a value that PNG declares transparent, over white
            high_byte[values == image.info["transparency"]] = 255
        return high_byte

    # White is 1 if all values lie in 0..1, as is usual for floats; else their range is stretched.
    levels = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    black, white = float(levels.min()), float(levels.max())
    if black >= 0 and white <= 1:
        black, white = 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        levels = (levels - black) * (255 / ((white - black) or 1))
    grey: npt.NDArray[np.uint8] = np.rint(levels.clip(0, 255)).astype(np.uint8)
    return grey

"""An image in any of its Python forms, as the bytes of an image file."""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

# A file's path or content; or pixels, which are sent as PNG: a PIL image, or uint8 (H, W) grey,
# (H, W, 3) RGB or (H, W, 4) RGBA.
ImageLike: TypeAlias = "str | PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]"

# Pillow's modes that it writes as PNG.
PNG_MODES: Final = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def image_bytes(image: ImageLike) -> bytes:
    """An image file's bytes: those of a file unchanged, EXIF data included; pixels as PNG.

    Raises OSError for a file that cannot be read, ValueError for pixels that are not an image.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, PathLike)):
        return Path(image).read_bytes()
    if isinstance(image, np.ndarray):
        return png_bytes(_from_array(image))
    return png_bytes(image)


def png_bytes(image: Image.Image) -> bytes:
    if image.mode == "F":
        raise ValueError("the range of values in an image of mode F is unknown; convert it first")
    if image.mode not in PNG_MODES:
        image = image.convert("I;16" if image.mode == "I" else "RGB")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _from_array(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    has_colours = pixels.shape[2:] in ((), (3,), (4,)) and pixels.ndim in (2, 3)
    if pixels.dtype != np.uint8 or not has_colours or not pixels.size:
        raise ValueError(
            f"an image is uint8 (H, W), (H, W, 3) or (H, W, 4), not {pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(pixels)

"""An image in any of its Python forms, as the bytes of an image file."""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

from segmenter_client.orientation import upright

if TYPE_CHECKING:
    from typing_extensions import TypeAlias


class BinaryFile(Protocol):
    """An open file, or an `io.BytesIO`."""

    def read(self) -> bytes: ...


# A file's path or content, or the file, open for reading bytes; or pixels, which are sent as PNG: a
# PIL image, or uint8 (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA.
ImageLike: TypeAlias = Union[
    str,
    "PathLike[str]",
    bytes,
    bytearray,
    memoryview,
    BinaryFile,
    Image.Image,
    "npt.NDArray[np.uint8]",
]

# Pillow's modes that it writes as PNG.
PNG_MODES: Final = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")

# What the others become: as deep, and as transparent.
CONVERSIONS: Final = {"I": "I;16", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}


def image_bytes(image: ImageLike) -> bytes:
    """An image file's bytes: those of a file unchanged, EXIF data included; pixels as PNG.

    A PIL image with an EXIF orientation is turned upright, since its PNG has no EXIF. An open file
    is read from its start, where it can be rewound. Raises OSError for a file that cannot be read,
    ValueError for pixels that are not an image and for a file that is open as text, TypeError for
    anything else.
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, PathLike)):
        return Path(image).read_bytes()
    if isinstance(image, np.ndarray):
        return png_bytes(_from_array(image))
    if isinstance(image, Image.Image):
        image.load()  # of a TIFF file, this turns it
        return png_bytes(upright(image))
    if hasattr(image, "read"):
        return _file_bytes(image)
    raise TypeError(
        f"a {type(image).__name__} is not an image: give a path, bytes, an open file, a PIL image "
        "or a NumPy array"
    )


def png_bytes(image: Image.Image) -> bytes:
    if image.mode == "F":
        raise ValueError("the range of values in an image of mode F is unknown; convert it first")
    if image.mode == "I;16B":  # big-endian, which becomes nothing but I
        image = image.convert("I")
    if image.mode not in PNG_MODES:
        image = image.convert(CONVERSIONS.get(image.mode, "RGB"))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1, exif=b"")
    return file.getvalue()


def _file_bytes(file: BinaryFile) -> bytes:
    seekable = getattr(file, "seekable", None)
    if seekable is not None and seekable():
        file.seek(0)  # type: ignore[attr-defined]  # as PIL.Image.open does
    content = file.read()
    if not isinstance(content, bytes):
        raise ValueError("the file is open as text; open it for reading bytes: open(path, 'rb')")
    return content


def _from_array(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    has_colours = pixels.shape[2:] in ((), (3,), (4,)) and pixels.ndim in (2, 3)
    if pixels.dtype != np.uint8 or not has_colours or not pixels.size:
        raise ValueError(
            f"an image is uint8 (H, W), (H, W, 3) or (H, W, 4), not {pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(pixels)

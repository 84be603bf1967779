"""Bytes from an untrusted client -> an upright RGB image, or an `ImageError` that says why not.

bytes -> ImageHeader -> checks -> a reader -> checks of its size -> pixels -> RGB

The reader is Pillow's, or for TIFFs of plain samples our own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from imaging.colour.encoding import ColourEncoding
from imaging.colour.srgb import to_srgb
from imaging.decode.budget import PixelBudget
from imaging.decode.canvas import Canvas
from imaging.decode.formats import ImageFormat, format_of
from imaging.decode.header import ImageHeader, check_structure, read_header
from imaging.decode.limits import (
    BYTES_PER_PIXEL,
    DEFAULT_LIMITS,
    Limits,
    check_frames,
    check_memory,
    check_num_bytes,
    check_size,
)
from imaging.decode.orientation import transposition
from imaging.decode.png.colour import has_profile
from imaging.decode.png.samples import eight_bit_image
from imaging.decode.readers import PILLOW_TOO_LARGE, GifFile, PngFile, open_reader
from imaging.decode.tiff.reader import SampledTiff
from imaging.errors import ImageError, ImageTooLarge, UnreadableImage


@dataclass(frozen=True)
class DecodedImage:
    """What a file shows, and where it declares that there is nothing to see."""

    pixels: Image.Image  # upright, RGB
    valid: npt.NDArray[np.bool_] | None = None  # (H, W), False where there is no data; None: all


def decode_image(
    data: bytes | bytearray | memoryview, limits: Limits = DEFAULT_LIMITS
) -> Image.Image:
    """Decode an image file: upright, mode RGB, 8 bits per channel, native size.

    Of an animation the first frame is taken, of 16 bits the high byte, but of cameras' 10 to 14 in
    16 and of light stored in proportion all of them. Transparency is laid over white. Colours are
    converted by their profile or encoding; CMYK without one by complement, in JPEG as Adobe's
    inverted values, which is how browsers read it. Sizes are limited before a pixel is decoded,
    time while it is.

    Raises UnreadableImage, ImageTooLarge or UnsupportedImage, and nothing else for bad bytes.
    """
    with decoded_image(data, limits, PixelBudget(limits.max_pixels)) as decoded:
        return decoded.pixels


@contextmanager
def decoded_image(
    data: bytes | bytearray | memoryview, limits: Limits, budget: PixelBudget
) -> Iterator[DecodedImage]:
    """`decode_image`, and which pixels are valid.

    A share of the budget is held from before decoding to the end of the block. Threads that share
    a budget wait for each other where their images together would not fit.
    """
    check_num_bytes(memoryview(data).nbytes, limits)
    data = bytes(data)
    header = _read_header(data)
    check_frames(header, limits)
    with _image_errors(header, limits):
        image = _open(data, header, limits)
    with budget.spend(_num_pixels(image, header)):
        with _image_errors(header, limits):
            decoded = _decode(image, header)
        del image  # else it would live through the block, next to its upright copy
        yield decoded


def upright_rgb(
    image: Image.Image,
    encoding: ColourEncoding | None = None,
    canvas: Canvas | None = None,
) -> Image.Image:
    """A loaded image -> its pixels alone, as 8-bit sRGB and upright.

    The file's comments and colour profile must not reach what is made from the pixels.
    """
    turn = transposition(image)
    rgb = to_srgb(image, encoding)
    rgb.info.clear()
    if canvas is not None:
        rgb = canvas.lay_out(rgb)
    return rgb if turn is None else rgb.transpose(turn)


def _decode(image: ImageFile.ImageFile | SampledTiff, header: ImageHeader) -> DecodedImage:
    if isinstance(image, SampledTiff):
        picture, valid = image.read()
        return DecodedImage(upright_rgb(picture), valid)
    image.load()
    if isinstance(image, PngFile) and header.png:
        if not has_profile(header.png.chunks):
            image.info.pop("icc_profile", None)
        picture, encoding = eight_bit_image(image, header.png, header.encoding, image.file)
        return DecodedImage(upright_rgb(picture, encoding, header.canvas))
    encoding = None if "icc_profile" in image.info else header.encoding
    canvas = image.canvas if isinstance(image, GifFile) else header.canvas
    return DecodedImage(upright_rgb(image, encoding, canvas))


def _read_header(data: bytes) -> ImageHeader:
    try:
        return read_header(data)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # on hostile bytes
        raise _corrupt(format_of(data)) from error


def _open(data: bytes, header: ImageHeader, limits: Limits) -> ImageFile.ImageFile | SampledTiff:
    """The image, of which only the header is read so far, within the limits."""
    check_structure(header)
    if header.canvas_size:
        check_size(header.canvas_size, limits)
    image = open_reader(data, header, limits.max_seconds)
    check_size(image.size, limits)
    check_size(header.tile_size, limits)
    if isinstance(image, SampledTiff):
        check_memory(image.size, image.num_bytes, limits)
    return image


def _num_pixels(image: ImageFile.ImageFile | SampledTiff, header: ImageHeader) -> int:
    """The pixels that are decoded at once, or as many as take the memory of wide numbers."""
    if isinstance(image, SampledTiff):
        return max(image.size[0] * image.size[1], image.num_bytes // BYTES_PER_PIXEL)
    sizes = (image.size, header.tile_size, header.canvas_size or (0, 0))
    return max(width * height for width, height in sizes)


@contextmanager
def _image_errors(header: ImageHeader, limits: Limits) -> Iterator[None]:
    """Turn whatever Pillow raises in the block into an ImageError."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except PILLOW_TOO_LARGE as error:
        raise ImageTooLarge(
            "image_too_large",
            f"The image has more than {limits.max_pixels} pixels. Scale it down.",
            max_pixels=limits.max_pixels,
        ) from error
    except Exception as error:  # Pillow on hostile bytes: struct.error, KeyError, SyntaxError, ...
        raise _unreadable(header) from error


def _unreadable(header: ImageHeader) -> UnreadableImage:
    if header.ends_early:
        return UnreadableImage(
            "image_truncated",
            f"The {header.format} file ends early, after {header.num_bytes} bytes. Send all of it.",
            bytes=header.num_bytes,
        )
    return _corrupt(header.format)


def _corrupt(name: ImageFormat) -> UnreadableImage:
    return UnreadableImage(
        "image_corrupt",
        f"The {name} file is damaged, or of a rare kind that is not read. "
        "Save it again as plain JPEG or PNG.",
    )

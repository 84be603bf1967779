"""Bytes from a stranger -> an upright RGB image, or an `ImageError` that says what is wrong.

The reader is chosen by signature and called directly. `PIL.Image.open` would call a damaged PNG
"not an image", judge sizes by a limit and warnings that belong to the whole process, and follow
an MPO file from its JPEG into the pictures behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageFile, ImageOps, ImagePalette
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import COLORMAP, TILELENGTH, TILEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from imaging.decode.budget import PixelBudget
from imaging.decode.deadline import TimedFile
from imaging.decode.formats import canvas_of, check_structure, ends_early, format_of, frames_in
from imaging.decode.orientation import upright_rgb
from imaging.decode.tiff import layout
from imaging.errors import ImageError, ImageTooLarge, UnreadableImage


class JpegFile(JpegImageFile):
    """Pillow's reader, less its search for a resolution: in broken EXIF that costs the picture."""

    def _open(self) -> None:
        self.info["dpi"] = (72, 72)  # it looks for none where there is one
        super()._open()


class GifFile(GifImageFile):
    """Pillow's reader, less what it lays out for a second frame: up to 178 MB, on opening."""

    disposal_method = property(lambda self: 0, lambda self, method: None)


class TiffFile(TiffImageFile):
    """Pillow's reader, less the directories below the first, of which 30 MB would become 1 GB."""

    def _open(self) -> None:
        super()._open()
        # Colours of 16 bits, or, of old programs, of 8, for which Pillow takes black.
        colours = self.tag_v2.get(COLORMAP, ())
        if self.mode in ("P", "PA") and max(colours, default=256) < 256:
            self.palette = ImagePalette.raw("RGB;L", bytes(colours))

    def load_end(self) -> None:
        ImageOps.exif_transpose(self, in_place=True)


READERS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "JPEG": JpegFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffFile,
    "GIF": GifFile,
}

# The GIF reader looks at the size while it opens; a warning where warnings are errors.
PILLOW_TOO_LARGE: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Limits:
    """What one image may have. A worker's memory and time follow from it."""

    max_bytes: int = 32 * 1024 * 1024  # about twice what phones write for 50 megapixels
    max_pixels: int = 50_000_000  # 200 MB decoded: Pillow keeps an RGB pixel in 4 bytes
    max_side: int = 20_000  # px; phone panoramas end near 16 000
    max_frames: int = 1000  # only the first is decoded, but some readers list them all
    max_seconds: float = 4.0  # of CPU; honest images of 50 megapixels take up to 1.5


def decode_image(data: bytes | bytearray | memoryview, limits: Limits = Limits()) -> Image.Image:
    """Decode an image file: upright, mode RGB, 8 bits per channel, native size.

    Of an animation the first frame is taken, of 16 bits the high byte; transparency is laid over
    white. CMYK is converted without its colour profile, in JPEG as Adobe's inverted values, which
    is how browsers read it. The limits are checked from the header, before a pixel is decoded.

    Raises UnreadableImage, ImageTooLarge or UnsupportedImage, and nothing else for bad bytes.
    """
    with decoded_image(data, limits, PixelBudget(limits.max_pixels)) as image:
        return image


@contextmanager
def decoded_image(
    data: bytes | bytearray | memoryview, limits: Limits, budget: PixelBudget
) -> Iterator[Image.Image]:
    """`decode_image`, with a share of the budget from before a pixel is decoded to the block's end.

    So whoever shares a budget takes turns where the images of all would not fit into memory.
    """
    data = _within_byte_limit(data, limits)
    name = format_of(data)
    _check_frames(data, name, limits)
    with _image_errors(data, name, limits):
        check_structure(data, name)
        image = _open(data, name, limits)
    with budget.spend(_num_pixels(image)):
        with _image_errors(data, name, limits):
            image.load()
            rgb = upright_rgb(image)
        del image  # else it would live through the block, next to its upright copy
        yield rgb


@contextmanager
def _image_errors(data: bytes, name: str, limits: Limits) -> Iterator[None]:
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
        raise _unreadable(data, name) from error


def _open(data: bytes, name: str, limits: Limits) -> ImageFile.ImageFile:
    """The image, of which only the header is read so far, within the limits."""
    canvas = canvas_of(data, name)
    if canvas:
        _check_size(canvas, limits)
    image = READERS[name](TimedFile(data, limits.max_seconds))
    _check_tags(image, data)
    _check_size(image.size, limits)
    _check_size(_tile_size(image), limits)
    return image


def _check_tags(image: ImageFile.ImageFile, data: bytes) -> None:
    """Refuse a TIFF of which Pillow has not read all tags that libtiff will decode it by.

    It stops at one that is broken, and leaves out some that are not.
    """
    if isinstance(image, TiffImageFile) and not all(tag in image.tag_v2 for tag in layout(data)):
        raise ValueError("tags of the pixels' layout behind one that is broken")


def _tile_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Of a TIFF's tiles, (0, 0) for other files. libtiff unpacks a tile whole, also one that is
    larger than its image.

    Raises ValueError where a tag holds several numbers.
    """
    if not isinstance(image, TiffImageFile):
        return 0, 0
    width, height = (image.tag_v2.get(tag, 0) for tag in (TILEWIDTH, TILELENGTH))
    if not (isinstance(width, int) and isinstance(height, int)):
        raise ValueError(f"the sides of a tile are {width!r:.40} and {height!r:.40}")
    return width, height


def _num_pixels(image: ImageFile.ImageFile) -> int:
    """What is decoded at once, in pixels."""
    return max(width * height for width, height in (image.size, _tile_size(image)))


def _within_byte_limit(data: bytes | bytearray | memoryview, limits: Limits) -> bytes:
    num_bytes = memoryview(data).nbytes
    if num_bytes == 0:
        raise UnreadableImage("image_empty", "There is no image: 0 bytes arrived.")
    if num_bytes > limits.max_bytes:
        raise ImageTooLarge(
            "image_too_many_bytes",
            f"The image has {num_bytes} bytes; at most {limits.max_bytes} are read. Scale it down.",
            bytes=num_bytes,
            max_bytes=limits.max_bytes,
        )
    return bytes(data)


def _check_frames(data: bytes, name: str, limits: Limits) -> None:
    num_frames = frames_in(data, name)
    if num_frames > limits.max_frames:
        raise ImageTooLarge(
            "image_too_many_frames",
            f"The {name} file has {num_frames} frames; at most {limits.max_frames} are accepted, "
            "and the first is segmented. Send that as an image of its own.",
            frames=num_frames,
            max_frames=limits.max_frames,
        )


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            "image_too_large",
            f"The image is {width}x{height}, {width * height} pixels; at most {limits.max_pixels} "
            "are read. Scale it down.",
            width=width,
            height=height,
            max_pixels=limits.max_pixels,
        )
    if max(width, height) > limits.max_side:
        raise ImageTooLarge(
            "image_side_too_long",
            f"The image is {width}x{height}; a side has at most {limits.max_side} pixels. "
            "Scale it down, or cut it into pieces.",
            width=width,
            height=height,
            max_side=limits.max_side,
        )


def _unreadable(data: bytes, name: str) -> UnreadableImage:
    if ends_early(data, name):
        return UnreadableImage(
            "image_truncated",
            f"The {name} file ends early, after {len(data)} bytes. Send all of it.",
            bytes=len(data),
        )
    return UnreadableImage(
        "image_corrupt",
        f"The {name} file is damaged, or of a rare kind that is not read. "
        "Save it again as plain JPEG or PNG.",
    )

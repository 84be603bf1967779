"""Pillow's readers, called directly and less what a hostile file can use against them.

`PIL.Image.open` would call a damaged PNG "not an image", judge sizes by a limit and warnings that
belong to the whole process, and follow an MPO file from its JPEG into the pictures behind it.

What these classes override is private to Pillow and may change with any release:
tests/imaging/decode/test_pillow_internals.py holds each of them to what is assumed here.
"""

from __future__ import annotations

from typing import Final, cast

from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from imaging.decode.bmp.reader import BmpFile
from imaging.decode.canvas import Canvas
from imaging.decode.deadline import TimedFile
from imaging.decode.formats import ImageFormat
from imaging.decode.header import ImageHeader
from imaging.decode.jpeg_reader import JpegFile
from imaging.decode.tiff.layout import is_sampled
from imaging.decode.tiff.reader import SampledTiff, open_sampled
from imaging.decode.tiff.whole_images import TiffFile, open_whole_images

# The GIF reader judges the size while it opens, by a warning where warnings are errors.
PILLOW_TOO_LARGE: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class PngFile(PngImageFile):
    """Pillow's reader, which keeps its file: samples of 16 bits are read from it once more."""

    def _open(self) -> None:
        self.file = cast("TimedFile", self.fp)
        super()._open()


class GifFile(GifImageFile):
    """Pillow's reader, less what it prepares for a second frame: up to 178 MB, on opening."""

    disposal_method = property(lambda self: 0, lambda self, method: None)

    @property
    def canvas(self) -> Canvas | None:
        return Canvas(self.size, self.dispose_extent) if self.dispose_extent else None


READERS: Final[dict[ImageFormat, type[ImageFile.ImageFile]]] = {
    "JPEG": JpegFile,
    "PNG": PngFile,
    "WebP": WebPImageFile,
    "BMP": BmpFile,
    "TIFF": TiffFile,
    "GIF": GifFile,
}


def reader_of(name: ImageFormat) -> type[ImageFile.ImageFile]:
    """Raises ImportError for a format that this installation lacks: see formats.IS_AVAILABLE."""
    if name == "AVIF":
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile
    if name == "HEIC":
        from pillow_heif import HeifImageFile

        return HeifImageFile
    return READERS[name]


def open_reader(
    data: bytes, header: ImageHeader, max_seconds: float
) -> ImageFile.ImageFile | SampledTiff:
    """The image, of which only the header is read so far; whoever loads it limits its size first.

    `max_seconds` of CPU time are for all that it reads. Raises ImageError and whatever Pillow does.
    """
    if header.tiff is None:
        return reader_of(header.format)(TimedFile(header.frame or data, max_seconds))
    if is_sampled(header.tiff):
        return open_sampled(header.tiff, max_seconds)
    return open_whole_images(header.tiff, max_seconds)

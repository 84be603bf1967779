"""One inspection of a file's bytes, before Pillow sees them and before a pixel is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from imaging.colour.encoding import ColourEncoding, encoding_of_code_points
from imaging.decode import jpeg, webp
from imaging.decode.bmp.header import read_header as read_bmp_header
from imaging.decode.camera_raw import refuse_raw, refuse_raw_tiff
from imaging.decode.canvas import Canvas
from imaging.decode.formats import ImageFormat, format_of
from imaging.decode.heif import structure as heif
from imaging.decode.heif.structure import HeifStructure
from imaging.decode.jpeg import JpegStructure
from imaging.decode.png import structure as png
from imaging.decode.png.apng import first_frame
from imaging.decode.png.colour import encoding_of_chunks
from imaging.decode.png.structure import PngStructure
from imaging.decode.tiff import structure as tiff
from imaging.decode.tiff.directory import TiffDirectory, full_picture, read_directories
from imaging.errors import ImageError

# How a frame of an animation begins. Pixels look like this by chance once in 16 MB.
FRAME_MARKS: Final[dict[ImageFormat, bytes]] = {
    "WebP": b"ANMF",
    "PNG": b"fcTL",
    "GIF": b"!\xf9\x04",
}

# How a complete file ends, where its format has a mark for it.
END_MARKS: Final[dict[ImageFormat, bytes]] = {
    "JPEG": b"\xff\xd9",
    "PNG": b"IEND\xaeB`\x82",
    "GIF": b";",
}
PADDING: Final = b"\0\r\n"  # bytes that may follow the mark


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about itself: all that is decided about it before it is decoded reads this.

    Two things are missing. The size is what Pillow's reader makes of the header, for that is what
    it will allocate; the canvas and the tiles below are allocated in addition, or earlier. And the
    orientation may lie behind the pixels, as EXIF does in some PNGs.
    """

    format: ImageFormat
    num_bytes: int
    ends_early: bool  # before the end that it announces
    num_frames: int  # counted, not decoded; 1 where it is no animation
    canvas: Canvas | None  # of an animation; a GIF's is its reader's to tell
    canvas_size: tuple[int, int] | None  # (width, height) px of what is allocated besides the size
    encoding: ColourEncoding | None  # of the colours, if it is not sRGB; a profile wins but in PNG
    frame: bytes | None = field(repr=False)  # a file of its own, that of an APNG's first frame
    jpeg: JpegStructure | None
    png: PngStructure | None
    tiff: TiffDirectory | None
    heif: HeifStructure | None  # of AVIF and HEIC

    @property
    def tile_size(self) -> tuple[int, int]:
        """(width, height) px of a TIFF's tiles, (0, 0) where it has none and for other formats."""
        return self.tiff.tile_size if self.tiff else (0, 0)


def read_header(data: bytes) -> ImageHeader:
    """Takes any bytes; of damaged ones the header tells what there is. Raises UnsupportedImage."""
    refuse_raw(data)
    name = format_of(data)
    chunks = png.read_structure(data) if name == "PNG" else None
    frame, canvas = (chunks and first_frame(data, chunks)) or (None, None)
    if frame:
        chunks = png.read_structure(frame)
    directory = None
    if name == "TIFF":
        directories = read_directories(data)
        refuse_raw_tiff(directories)
        directory = full_picture(directories)
    boxes = heif.read_structure(data) if name in ("AVIF", "HEIC") else None
    if name == "WebP":
        canvas = webp.canvas_of_animation(data)
    return ImageHeader(
        format=name,
        num_bytes=len(data),
        ends_early=tiff.ends_early(directory) if directory else _ends_early(data, name),
        num_frames=_count_frames(data, name),
        canvas=canvas,
        canvas_size=_canvas_size(data, name, canvas, boxes),
        encoding=_encoding(chunks, boxes),
        frame=frame,
        jpeg=jpeg.read_structure(data) if name == "JPEG" else None,
        png=chunks,
        tiff=directory,
        heif=boxes,
    )


def check_structure(header: ImageHeader) -> None:
    """Refuse a file built to cost far more time or memory than its bytes and its size suggest.

    Raises UnreadableImage, and ValueError for one that is damaged, or of a kind that is not read.
    """
    if header.jpeg:
        jpeg.check_structure(header.jpeg)
    if header.png:
        png.check_structure(header.png)
    if header.tiff:
        tiff.check_structure(header.tiff)
    if header.heif:
        heif.check_structure(header.heif, header.format)


def _canvas_size(
    data: bytes, name: ImageFormat, canvas: Canvas | None, boxes: HeifStructure | None
) -> tuple[int, int] | None:
    if name == "WebP":
        return webp.canvas_size(data)
    return boxes.size if boxes else canvas.size if canvas else None


def _encoding(chunks: PngStructure | None, boxes: HeifStructure | None) -> ColourEncoding | None:
    if chunks:
        return encoding_of_chunks(chunks.chunks)
    if boxes and boxes.code_points:
        return encoding_of_code_points(*boxes.code_points)
    return None


def _count_frames(data: bytes, name: ImageFormat) -> int:
    """A GIF's first frame may go without a mark, and is then not counted."""
    return max(1, data.count(FRAME_MARKS[name])) if name in FRAME_MARKS else 1


def _ends_early(data: bytes, name: ImageFormat) -> bool:
    if name in END_MARKS:
        return not data.rstrip(PADDING).endswith(END_MARKS[name])
    if name == "WebP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if name in ("AVIF", "HEIC"):
        return heif.ends_early(data)
    try:  # BMP, whose field for the file's size is often wrong
        return len(data) < read_bmp_header(data).end
    except (ImageError, ValueError, struct.error):
        return len(data) < int.from_bytes(data[2:6], "little")

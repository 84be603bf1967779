"""How a TIFF's samples are stored: how many, of which type, in which pieces.

A piece is a strip or a tile. Strips are read as tiles of the image's width, the last of which is
shorter. Where each channel has a plane of its own, a plane has all of its pieces one after another.
TIFF 6.0, sections 3 to 8, 14 (predictor) and 15 (tiles).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.decode.tiff import codes
from imaging.decode.tiff.codes import unsupported
from imaging.decode.tiff.directory import STRIPS, TILES, TiffDirectory

# SAMPLEFORMAT -> NumPy's letter. 4 is undefined, which is taken for the default.
NUMBERS: Final[dict[int, Literal["u", "i", "f"]]] = {1: "u", 2: "i", 3: "f", 4: "u"}
FORMAT_NAMES: Final = {5: "complex integers", 6: "complex numbers"}
WHOLE_WIDTHS: Final = {"u": (8, 16, 32, 64), "i": (8, 16, 32, 64), "f": (16, 32, 64)}
MAX_PACKED_BITS: Final = 16  # of samples that share bytes: 1 to 7, 9 to 15

# TIFF 6.0 knows no limit. Hyperspectral images have some hundred channels.
MAX_CHANNELS: Final = 1024

# Compressions that know bytes alone, and those of them that can be preceded by a predictor.
BYTE_COMPRESSIONS: Final = frozenset(
    (
        *(codes.UNCOMPRESSED, codes.LZW, codes.DEFLATE, codes.OLD_DEFLATE),
        *(codes.PACKBITS, codes.LZMA, codes.ZSTD),
    )
)
WITH_PREDICTOR: Final = BYTE_COMPRESSIONS - {codes.UNCOMPRESSED, codes.PACKBITS}
PLAIN: Final = (codes.WHITE_IS_ZERO, codes.BLACK_IS_ZERO, codes.RGB, codes.PALETTE, codes.CMYK)
JPEG_CHANNELS: Final = (1, 2, 3, 4)
MAX_JPEG_TABLES: Final = 1 << 16  # bytes; honest ones have some hundred
DEFAULT_SUBSAMPLING: Final = (2, 2)
NO_PREDICTOR: Final = 1
HORIZONTAL: Final = 2
FLOATING_POINT: Final = 3


@dataclass(frozen=True)
class JpegCoding:
    """What JPEG pieces have in common."""

    tables: bytes  # a JPEG stream of tables alone; empty where each piece has its own
    subsampling: tuple[int, int] | None  # of chroma, horizontal and vertical; None: no YCbCr


@dataclass(frozen=True)
class SampleLayout:
    """Where the samples of an image lie, and how they become numbers."""

    width: int  # px
    height: int
    channels: int  # samples of a pixel, whatever they mean
    number: Literal["u", "i", "f"]
    bits: int  # of a sample
    in_planes: bool
    piece_width: int  # px
    piece_height: int
    in_tiles: bool
    compression: int
    predictor: int
    reversed_bits: bool  # the first pixel is in the lowest bit of a byte
    little_endian: bool
    jpeg: JpegCoding | None  # of pieces that are JPEG

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the numbers, in this machine's byte order; packed ones take the next wider type."""
        width = 8 * -(-self.bits // 8)
        return np.dtype(f"{self.number}{width // 8}")

    @property
    def is_native(self) -> bool:
        """Whether the unpacked bytes are numbers of this machine, or differences of such."""
        if self.bits != 8 * self.dtype.itemsize or self.predictor == FLOATING_POINT:
            return False
        return self.bits == 8 or self.little_endian == (sys.byteorder == "little")

    @property
    def piece_channels(self) -> int:
        return 1 if self.in_planes else self.channels

    @property
    def row_bytes(self) -> int:
        """Of a row of a piece; rows begin on whole bytes."""
        return -(-self.piece_width * self.piece_channels * self.bits // 8)

    @property
    def columns(self) -> int:
        """Pieces side by side."""
        return -(-self.width // self.piece_width)

    @property
    def rows(self) -> int:
        """Pieces one below the other."""
        return -(-self.height // self.piece_height)

    def rows_of_piece(self, row: int) -> int:
        """Rows of pixels that pieces of that row of pieces hold: tiles are whole."""
        if self.in_tiles:
            return self.piece_height
        return min(self.piece_height, self.height - row * self.piece_height)


def is_sampled(directory: TiffDirectory) -> bool:
    """Whether the pixels are plain samples, compressed as bytes or as JPEG if at all."""
    compression = directory.first(tags.COMPRESSION, codes.UNCOMPRESSED)
    photometric = directory.first(tags.PHOTOMETRIC_INTERPRETATION, codes.WHITE_IS_ZERO)
    if compression == codes.JPEG:
        return photometric in (*PLAIN, codes.YCBCR)
    return compression in BYTE_COMPRESSIONS and photometric in PLAIN


def read_layout(directory: TiffDirectory) -> SampleLayout:
    """The layout of plain samples.

    Raises UnsupportedImage for a kind that is not read, ValueError for one that makes no sense.
    """
    width, height = (directory.number(tag, 0) for tag in (tags.IMAGEWIDTH, tags.IMAGELENGTH))
    channels = directory.number(tags.SAMPLESPERPIXEL, 1)
    if not (width and height and channels):
        raise ValueError(f"{width}x{height} pixels of {channels} samples")
    if channels > MAX_CHANNELS:
        raise unsupported(f"with {channels} channels")
    in_tiles = TILES[0] in directory.layout
    if in_tiles:
        piece_width, piece_height = directory.tile_size
    else:
        piece_width = width
        piece_height = min(directory.number(tags.ROWSPERSTRIP, height), height)
    if not (piece_width and piece_height and (in_tiles or STRIPS[0] in directory.layout)):
        raise ValueError(f"pieces of {piece_width}x{piece_height} pixels")
    number, bits = _number(directory, channels)
    compression = directory.number(tags.COMPRESSION, codes.UNCOMPRESSED)
    predictor = directory.number(tags.PREDICTOR, NO_PREDICTOR)
    if compression not in WITH_PREDICTOR:
        if predictor != NO_PREDICTOR and compression == codes.PACKBITS:
            # tifffile writes and reads it, while libtiff takes no notice of the tag.
            raise unsupported(f"with predictor {predictor} and PackBits compression")
        predictor = NO_PREDICTOR
    _check_predictor(predictor, number, bits)
    in_planes = channels > 1 and _planes(directory)
    return SampleLayout(
        width=width,
        height=height,
        channels=channels,
        number=number,
        bits=bits,
        in_planes=in_planes,
        piece_width=piece_width,
        piece_height=piece_height,
        in_tiles=in_tiles,
        compression=compression,
        predictor=predictor,
        reversed_bits=directory.number(tags.FILLORDER, 1) == 2,
        little_endian=directory.order == "little",
        jpeg=_jpeg_coding(directory, channels, bits, in_planes=in_planes)
        if compression == codes.JPEG
        else None,
    )


def _number(directory: TiffDirectory, channels: int) -> tuple[Literal["u", "i", "f"], int]:
    """The type of the samples, which has to be the same for all of a pixel."""
    formats = _of_each_sample(directory, tags.SAMPLEFORMAT, 1, channels)
    bits = _of_each_sample(directory, tags.BITSPERSAMPLE, 1, channels)
    if len(formats) > 1 or len(bits) > 1:
        raise unsupported("whose samples differ in their number of bits or in their format")
    (code,), (width,) = formats, bits
    number = NUMBERS.get(code)
    if number is None:
        raise unsupported(f"of {FORMAT_NAMES.get(code, 'samples')} (sample format {code})")
    packed = number == "u" and 0 < width <= MAX_PACKED_BITS
    if not packed and width not in WHOLE_WIDTHS[number]:
        name = {"u": "unsigned integers", "i": "signed integers", "f": "floats"}[number]
        raise unsupported(f"of {name} of {width} bits")
    return number, width


def _of_each_sample(directory: TiffDirectory, tag: int, default: int, channels: int) -> set[int]:
    """The different values of a tag that has one for each sample, or one for all of them."""
    if tag not in directory.layout:
        return {default}
    return {int(value) for value in directory.values(directory.layout[tag])[:channels]}


def _planes(directory: TiffDirectory) -> bool:
    planes = directory.number(tags.PLANAR_CONFIGURATION, codes.INTERLEAVED)
    if planes not in (codes.INTERLEAVED, codes.PLANES):
        raise ValueError(f"planar configuration {planes}")
    return planes == codes.PLANES


def _jpeg_coding(
    directory: TiffDirectory, channels: int, bits: int, *, in_planes: bool
) -> JpegCoding:
    if bits != 8 or (channels not in JPEG_CHANNELS and not in_planes):
        raise unsupported(f"with JPEG compression of {channels} channels of {bits} bits")
    tables = directory.raw_bytes(tags.JPEGTABLES, MAX_JPEG_TABLES)
    photometric = directory.first(tags.PHOTOMETRIC_INTERPRETATION, codes.WHITE_IS_ZERO)
    if photometric != codes.YCBCR:
        return JpegCoding(tables, None)
    # libjpeg makes RGB of three channels that lie together, and of nothing else.
    if in_planes:
        raise unsupported("of YCbCr pixels in planes")
    if channels != 3:
        raise unsupported(f"of YCbCr pixels with {channels} channels")
    factors = directory.layout.get(tags.YCBCRSUBSAMPLING)
    if factors is None:
        return JpegCoding(tables, DEFAULT_SUBSAMPLING)
    if factors.num_values != 2:
        raise ValueError(f"{factors.num_values} factors of subsampling")
    horizontal, vertical = directory.values(factors).tolist()
    return JpegCoding(tables, (horizontal, vertical))


def _check_predictor(predictor: int, number: str, bits: int) -> None:
    if predictor == NO_PREDICTOR:
        return
    if predictor == HORIZONTAL and bits in (8, 16, 32, 64):
        return
    if predictor == FLOATING_POINT and number == "f":
        return
    raise unsupported(f"with predictor {predictor} on samples of {bits} bits")

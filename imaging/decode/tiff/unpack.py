"""Pieces of a TIFF -> bytes, by the libtiff in Pillow.

libtiff unpacks rows of bytes, whatever they mean: the pieces are given to it as the strips of a
grey picture with one byte a pixel, or of JPEG as a picture with as many channels as they have. What
Pillow would make of the original's tags does not matter.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import ImageFile
from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.decode.tiff import codes
from imaging.decode.tiff.layout import SampleLayout

# What is copied or converted at once. Rows of a tile may have a few bytes, those of a strip 640 kB.
STRIP_BYTES: Final = 1 << 18

SHORT: Final = 3
LONG: Final = 4
UNDEFINED: Final = 7
SIZES: Final = (tags.IMAGEWIDTH, tags.IMAGELENGTH, tags.ROWSPERSTRIP)
TYPES: Final = {
    **dict.fromkeys((*SIZES, tags.STRIPOFFSETS, tags.STRIPBYTECOUNTS), (LONG, "I")),
    tags.JPEGTABLES: (UNDEFINED, "B"),
}

# Channels -> a photometric interpretation by which libtiff and Pillow leave them as they are.
BY_CHANNELS: Final = dict(enumerate((*2 * [codes.BLACK_IS_ZERO], codes.RGB, codes.CMYK), start=1))

# Where the first pixel is in the lowest bit of a byte: what each byte means.
REVERSED_BITS: Final[npt.NDArray[np.uint8]] = np.packbits(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1
).squeeze(1)


class StripsFile(tags.TiffImageFile):
    """Pillow's reader, less its limit of pixels: here each byte is one, and they are limited."""

    def load_prepare(self) -> None:
        ImageFile.ImageFile.load_prepare(self)


def unpack(pieces: Sequence[bytes], rows: int, layout: SampleLayout) -> npt.NDArray[np.uint8]:
    """Pieces of `rows` rows each -> (len(pieces) * rows, row_bytes), one below the other.

    Raises ValueError where uncompressed ones are too short, and whatever Pillow does where libtiff
    cannot unpack the others.
    """
    if layout.compression == codes.UNCOMPRESSED:
        size = rows * layout.row_bytes
        if any(len(piece) < size for piece in pieces):
            raise ValueError(f"a piece of fewer than {size} bytes")
        plain = np.frombuffer(b"".join(piece[:size] for piece in pieces), np.uint8)
        if layout.reversed_bits:
            plain = REVERSED_BITS[plain]
        return plain.reshape(-1, layout.row_bytes)
    strips = StripsFile(io.BytesIO(_tiff_of_strips(pieces, rows, layout)))
    strips.load()
    unpacked = np.empty((len(pieces) * rows, layout.row_bytes), np.uint8)
    step = max(1, STRIP_BYTES // layout.row_bytes)  # as in pixel_array.rgb_array: less memory
    for top in range(0, len(unpacked), step):
        bottom = min(top + step, len(unpacked))
        part = np.asarray(strips.crop((0, top, strips.width, bottom)))
        unpacked[top:bottom] = part.reshape(bottom - top, -1)
    return unpacked


def _tiff_of_strips(pieces: Sequence[bytes], rows: int, layout: SampleLayout) -> bytes:
    """A little-endian file whose strips are the pieces."""
    start = 8
    offsets = []
    for piece in pieces:
        offsets.append(start)
        start += len(piece)
    channels = layout.piece_channels if layout.jpeg else 1
    entries: dict[int, Sequence[int] | bytes] = {
        tags.IMAGEWIDTH: [layout.piece_width if layout.jpeg else layout.row_bytes],
        tags.IMAGELENGTH: [rows * len(pieces)],
        tags.BITSPERSAMPLE: [8] * channels,
        tags.COMPRESSION: [layout.compression],
        tags.PHOTOMETRIC_INTERPRETATION: [BY_CHANNELS[channels]],
        tags.FILLORDER: [2 if layout.reversed_bits else 1],
        tags.STRIPOFFSETS: offsets,
        tags.SAMPLESPERPIXEL: [channels],
        tags.ROWSPERSTRIP: [rows],
        tags.STRIPBYTECOUNTS: [len(piece) for piece in pieces],
    }
    if channels == 2:
        entries[tags.EXTRASAMPLES] = [codes.ALPHA]
    if layout.jpeg and layout.jpeg.tables:
        entries[tags.JPEGTABLES] = layout.jpeg.tables
    if layout.jpeg and layout.jpeg.subsampling:
        entries[tags.PHOTOMETRIC_INTERPRETATION] = [codes.YCBCR]
        entries[tags.YCBCRSUBSAMPLING] = layout.jpeg.subsampling
    values = b""
    directory = struct.pack("<H", len(entries))
    for tag, content in sorted(entries.items()):
        kind, code = TYPES.get(tag, (SHORT, "H"))
        packed = struct.pack(f"<{len(content)}{code}", *content)
        if len(packed) > 4:
            at = start + len(values)
            values += packed + bytes(len(packed) % 2)
            packed = struct.pack("<I", at)
        directory += struct.pack("<HHI4s", tag, kind, len(content), packed)
    header = b"II*\0" + struct.pack("<I", start + len(values))
    return b"".join((header, *pieces, values, directory, bytes(4)))

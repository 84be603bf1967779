"""Pieces of a TIFF -> bytes, by the libtiff in Pillow.

libtiff unpacks rows of bytes, whatever they mean: the pieces are given to it as the strips of a
grey picture with one byte a pixel. What Pillow would make of the original's tags does not matter.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.decode.tiff.codes import BLACK_IS_ZERO, UNCOMPRESSED
from imaging.pixel_array import STRIP_ROWS

SHORT: Final = 3
LONG: Final = 4

# Where the first pixel is in the lowest bit of a byte: what each byte means.
REVERSED_BITS: Final[npt.NDArray[np.uint8]] = np.packbits(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1
).squeeze(1)


def unpack(
    pieces: Sequence[bytes],
    rows: int,
    row_bytes: int,
    compression: int,
    *,
    reversed_bits: bool,
) -> npt.NDArray[np.uint8]:
    """Pieces of equal size -> (len(pieces), rows, row_bytes).

    Raises ValueError where uncompressed ones are too short, and whatever Pillow does where libtiff
    cannot unpack the others.
    """
    if compression == UNCOMPRESSED:
        size = rows * row_bytes
        if any(len(piece) < size for piece in pieces):
            raise ValueError(f"a piece of fewer than {size} bytes")
        plain = np.frombuffer(b"".join(piece[:size] for piece in pieces), np.uint8)
        return (REVERSED_BITS[plain] if reversed_bits else plain).reshape(-1, rows, row_bytes)
    fill_order = 2 if reversed_bits else 1
    grey = tags.TiffImageFile(
        io.BytesIO(_grey_tiff(pieces, rows, row_bytes, compression, fill_order))
    )
    grey.load()
    unpacked = np.empty((len(pieces) * rows, row_bytes), np.uint8)
    for top in range(0, len(unpacked), STRIP_ROWS):  # as in pixel_array.rgb_array: less memory
        bottom = min(top + STRIP_ROWS, len(unpacked))
        unpacked[top:bottom] = np.asarray(grey.crop((0, top, row_bytes, bottom)))
    return unpacked.reshape(-1, rows, row_bytes)


def _grey_tiff(
    pieces: Sequence[bytes], rows: int, row_bytes: int, compression: int, fill_order: int
) -> bytes:
    """A little-endian file of grey bytes, whose strips are the pieces."""
    lengths = np.array([len(piece) for piece in pieces], "<u4")
    offsets = 8 + np.cumsum(lengths, dtype=np.uint32) - lengths
    tables = 8 + int(lengths.sum())
    entries = {
        tags.IMAGEWIDTH: row_bytes,
        tags.IMAGELENGTH: rows * len(pieces),
        tags.BITSPERSAMPLE: 8,
        tags.COMPRESSION: compression,
        tags.PHOTOMETRIC_INTERPRETATION: BLACK_IS_ZERO,
        tags.FILLORDER: fill_order,
        tags.STRIPOFFSETS: tables if len(pieces) > 1 else 8,
        tags.SAMPLESPERPIXEL: 1,
        tags.ROWSPERSTRIP: rows,
        tags.STRIPBYTECOUNTS: tables + 4 * len(pieces) if len(pieces) > 1 else len(pieces[0]),
    }
    short = {
        *(tags.BITSPERSAMPLE, tags.COMPRESSION, tags.PHOTOMETRIC_INTERPRETATION),
        *(tags.FILLORDER, tags.SAMPLESPERPIXEL),
    }
    counts = dict.fromkeys((tags.STRIPOFFSETS, tags.STRIPBYTECOUNTS), len(pieces))
    directory = b"".join(
        struct.pack("<HHII", tag, SHORT if tag in short else LONG, counts.get(tag, 1), value)
        for tag, value in sorted(entries.items())
    )
    start = tables + 8 * len(pieces)
    return b"".join(
        (
            b"II*\0" + struct.pack("<I", start),
            *pieces,
            offsets.astype("<u4").tobytes() + lengths.tobytes(),
            struct.pack("<H", len(entries)) + directory + bytes(4),
        )
    )

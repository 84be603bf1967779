"""Bytes of unpacked pieces -> numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imaging.decode.tiff.layout import FLOATING_POINT, HORIZONTAL, SampleLayout
from imaging.pixel_array import STRIP_ROWS


def read_samples(rows: npt.NDArray[np.uint8], layout: SampleLayout) -> npt.NDArray[np.generic]:
    """(N, row_bytes), rows of pieces -> (N, piece_width, piece_channels) of `layout.dtype`.

    The same memory where the bytes are the numbers already; else in strips, so that temporary
    copies stay small.
    """
    shape = (len(rows), layout.piece_width, layout.piece_channels)
    in_place = layout.is_native and layout.predictor != FLOATING_POINT
    samples = rows.view(layout.dtype).reshape(shape) if in_place else np.empty(shape, layout.dtype)
    for top in range(0, len(rows), STRIP_ROWS):
        strip = slice(top, top + STRIP_ROWS)
        if not in_place:
            samples[strip] = _numbers(rows[strip], layout).reshape(samples[strip].shape)
        if layout.predictor == HORIZONTAL:
            _add_up(samples[strip])
    return samples


def _numbers(rows: npt.NDArray[np.uint8], layout: SampleLayout) -> npt.NDArray[np.generic]:
    """(N, row_bytes) -> (N, piece_width * piece_channels), in any byte order."""
    if layout.bits not in (8, 16, 32, 64):
        return _packed(rows, layout.piece_width * layout.piece_channels, layout.bits)
    if layout.predictor == FLOATING_POINT:
        return _floats(rows, layout)
    return rows.view(layout.dtype.newbyteorder("<" if layout.little_endian else ">"))


def _add_up(samples: npt.NDArray[np.generic]) -> None:
    """Undo horizontal differences (TIFF 6.0, section 14), in place; sums wrap around."""
    numbers = samples.view(f"u{samples.itemsize}")
    np.add.accumulate(numbers, axis=1, dtype=numbers.dtype, out=numbers)


def _floats(rows: npt.NDArray[np.uint8], layout: SampleLayout) -> npt.NDArray[np.generic]:
    """Undo differences of bytes that are sorted by their weight, the highest first.

    Adobe Photoshop TIFF Technical Note 3, 2005. The byte order of the file does not matter.
    """
    sums = rows.reshape(len(rows), -1, layout.piece_channels).copy()
    _add_up(sums)
    planes = sums.reshape(len(rows), layout.dtype.itemsize, -1)
    numbers = np.ascontiguousarray(planes.transpose(0, 2, 1))
    floats: npt.NDArray[np.generic] = numbers.view(layout.dtype.newbyteorder(">")).squeeze(2)
    return floats


def _packed(rows: npt.NDArray[np.uint8], count: int, bits: int) -> npt.NDArray[np.unsignedinteger]:
    """(N, row_bytes) -> (N, count) unsigned numbers of 1 to 16 bits, the highest bit first."""
    first_bit = np.arange(count) * bits
    first_byte, shift = first_bit // 8, 24 - bits - first_bit % 8
    padded = np.pad(rows, ((0, 0), (0, 2)))
    window = np.zeros((len(rows), count), np.uint32)
    for byte in range(3):
        window |= padded[:, first_byte + byte].astype(np.uint32) << (16 - 8 * byte)
    window >>= shift.astype(np.uint32)
    window &= np.uint32((1 << bits) - 1)
    return window

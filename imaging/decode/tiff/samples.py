"""Bytes of unpacked pieces -> numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imaging.decode.tiff.layout import FLOATING_POINT, HORIZONTAL, SampleLayout
from imaging.decode.tiff.unpack import STRIP_BYTES


def read_samples(rows: npt.NDArray[np.uint8], layout: SampleLayout) -> npt.NDArray[np.generic]:
    """(N, row_bytes), rows of pieces -> (N, piece_width, piece_channels) of `layout.dtype`.

    The same memory where the bytes are the numbers already; else in strips, so that temporary
    copies stay small.
    """
    shape = (len(rows), layout.piece_width, layout.piece_channels)
    in_place = layout.is_native
    samples = rows.view(layout.dtype).reshape(shape) if in_place else np.empty(shape, layout.dtype)
    step = max(1, STRIP_BYTES // layout.row_bytes)
    for top in range(0, len(rows), step):
        strip = slice(top, top + step)
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
    """(N, row_bytes) -> (N, count) unsigned numbers of 1 to 16 bits, the highest bit first.

    Eight numbers fill whole bytes, as many as a number has bits: the first of each eight lie at
    the same place in their bytes, and so do the second ones.
    """
    eights = -(-count // 8)
    # A number begins in one byte and ends in the next but one at most.
    padded = np.zeros((len(rows), eights * bits + 2), np.uint32 if bits > 8 else np.uint16)
    padded[:, : rows.shape[1]] = rows[:, : eights * bits]
    width = 24 if bits > 8 else 16
    numbers = np.empty((len(rows), eights, 8), np.uint16 if bits > 8 else np.uint8)
    for place in range(8):
        first, offset = divmod(place * bits, 8)
        window = np.zeros((len(rows), eights), padded.dtype)
        for byte in range(width // 8):
            start = first + byte
            window |= padded[:, start : start + eights * bits : bits] << (width - 8 - 8 * byte)
        window >>= width - bits - offset
        numbers[..., place] = window & ((1 << bits) - 1)
    return numbers.reshape(len(rows), -1)[:, :count]

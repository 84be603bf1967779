"""Label Studio's brush: a mask as the run-length code of its RGBA image, vectorised.

The code is thi.ng's rle-pack (https://github.com/thi-ng/umbrella, packages/rle-pack), a stream of
bits. It begins with the number of values in 32 bits, the bits of a value minus 1 in 5, and four
widths of run lengths, minus 1, in 4 each. Each run follows as a 1, the index of its width in 2
bits, its length minus 1 in that width, and its value. (A 0 would announce values that do not
repeat; an image of four equal channels has none.)
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from imaging.export.rle import alternating

CHANNELS: Final = 4  # all 255 inside, all 0 outside
VALUE_BITS: Final = 8
LENGTH_BITS: Final = np.array([3, 4, 8, 16])  # those of Label Studio's own encoder
LONGEST: Final = 1 << int(LENGTH_BITS[-1])


def brush_rle(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.uint8]:
    """Separate runs along the rows of an image of `size` pixels, ascending -> the code's bytes."""
    runs = alternating(starts, lengths, size)
    lengths, values = _split(CHANNELS * runs, np.arange(len(runs)) % 2 * 255)

    which = np.searchsorted(1 << LENGTH_BITS, lengths)  # the smallest width that holds it
    length_bits = LENGTH_BITS[which]
    codes = 0b100 + which
    codes = (codes << length_bits) + lengths - 1
    codes = (codes << VALUE_BITS) + values
    stream = _bits(codes, 3 + length_bits + VALUE_BITS)
    return np.packbits(np.append(_header(CHANNELS * size), stream))


def _split(
    lengths: npt.NDArray[np.int64], values: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Drop runs of length 0 and cut longer ones than LONGEST, the remainder last."""
    pieces = -(-lengths // LONGEST)
    values, rest = np.repeat(values, pieces), lengths - (pieces - 1) * LONGEST
    split = np.full(len(values), LONGEST)
    split[np.cumsum(pieces)[pieces > 0] - 1] = rest[pieces > 0]
    return split, values


def _header(num_values: int) -> npt.NDArray[np.uint8]:
    fields = np.array([num_values, VALUE_BITS - 1, *(LENGTH_BITS - 1)])
    return _bits(fields, np.array([32, 5, 4, 4, 4, 4]))


def _bits(numbers: npt.NDArray[np.int64], widths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Numbers of up to 32 bits -> the lowest `widths` bits of each, highest first, concatenated."""
    bits = np.unpackbits(numbers.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)
    return bits[np.arange(32, 0, -1) <= widths[:, None]]

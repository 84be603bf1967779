"""COCO's compressed run lengths, decoded without a Python loop over the runs.

The reverse of `rleToString` of cocoapi, common/maskApi.c: a number is written in characters of five
bits, lowest first, with a sign; from the fourth on it is the difference to the one two before.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

ZERO: Final = 48  # character of the value 0
MORE: Final = 0x20  # flag: the next character belongs to the same number
NEGATIVE: Final = 0x10  # flag in a number's last character
VALUE: Final = 0x1F  # the five bits of the number itself


def decode_run_lengths(counts: str) -> npt.NDArray[np.int64]:
    """Numbers of pixels outside, inside, outside, ... down the columns."""
    groups = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - ZERO
    ends = np.flatnonzero(groups & MORE == 0)
    starts = np.append(0, ends[:-1] + 1)
    sizes = ends - starts + 1
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, sizes))
    lengths: npt.NDArray[np.int64] = np.add.reduceat((groups & VALUE) << shifts, starts)
    lengths -= np.where(groups[ends] & NEGATIVE, 1 << (5 * sizes), 0)
    for first in (1, 2):
        lengths[first::2] = np.cumsum(lengths[first::2])
    return lengths


def paint(mask: npt.NDArray[np.integer], counts: str, value: int) -> None:
    """Set the pixels of an RLE in `mask`, (H, W) and column-major in memory, in place."""
    lengths = decode_run_lengths(counts)
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    mask.reshape(-1, order="F")[inside] = value

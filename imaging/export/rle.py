"""Run-length encoding as COCO's tools read it, vectorised.

COCO goes down the columns and counts pixels outside and inside alternately, first outside. Its
compressed string is `rleToString` of cocoapi, common/maskApi.c.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

GROUP_BITS: Final = 5  # of a number in one character
MAX_GROUPS: Final = 7  # 35 bits, far beyond the difference of two counts of pixels
MORE: Final = 1 << GROUP_BITS  # flag: the next character belongs to the same number
CHARACTER_ZERO: Final = 48  # what cocoapi adds to stay printable


class CocoRle(TypedDict):
    """The object that pycocotools calls RLE."""

    size: list[int]  # [H, W]
    counts: str


class Runs(NamedTuple):
    """The maximal runs of one value down the columns of an image, (N,) each, in order."""

    values: npt.NDArray[np.integer] | npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]  # x * H + y of the first pixel
    lengths: npt.NDArray[np.int64]  # px


def coco_rle(binary: npt.NDArray[np.bool_]) -> CocoRle:
    """(H, W) -> compressed RLE of its true pixels."""
    runs = column_runs(binary)
    inside = runs.values.astype(bool)
    return encode_runs(runs.starts[inside], runs.lengths[inside], binary.shape)


def column_runs(image: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Runs:
    """Split (H, W) into its runs."""
    pixels = image.ravel(order="F")
    starts = np.append(0, np.flatnonzero(pixels[1:] != pixels[:-1]) + 1)
    return Runs(pixels[starts], starts, np.diff(starts, append=pixels.size))


def encode_runs(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], shape: tuple[int, ...]
) -> CocoRle:
    """Ascending runs that do not touch -> the RLE of all of them in an image of (H, W)."""
    height, width = shape
    counts = alternating(starts, lengths, height * width)
    if len(starts) and counts[-1] == 0:  # COCO stops at the last pixel, inside or outside
        counts = counts[:-1]
    return {"size": [height, width], "counts": _compress(counts)}


def alternating(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.int64]:
    """Ascending runs in `size` pixels -> pixels outside, inside, outside, ...: (2N + 1,)."""
    counts: npt.NDArray[np.int64] = np.empty(2 * len(starts) + 1, np.int64)
    counts[0::2] = np.append(starts, size) - np.append(0, starts + lengths)
    counts[1::2] = lengths
    return counts


def _compress(counts: npt.NDArray[np.int64]) -> str:
    """Signed LEB128 with 5 bits per character, lowest first.

    From the fourth count on, the number is its difference from the last count of its kind.
    """
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    shifts = GROUP_BITS * np.arange(MAX_GROUPS)
    groups = (numbers[:, None] >> shifts) & (MORE - 1)  # (N, MAX_GROUPS)

    magnitudes = numbers ^ (numbers >> 63)  # n, or ~n if negative: the same bits, less the sign
    goes_on = (magnitudes[:, None] >> (shifts + GROUP_BITS - 1)) > 0
    is_used = np.insert(goes_on[:, :-1], 0, True, axis=1)
    characters = (groups + MORE * goes_on + CHARACTER_ZERO)[is_used]
    return str(characters.astype(np.uint8).tobytes(), "ascii")

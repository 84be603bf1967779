"""A mask in which only some pixels keep their class."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from imaging.pixel_array import look_up


def keep_classes(
    mask: npt.NDArray[np.integer], classes: Collection[int], void: int
) -> npt.NDArray[np.integer]:
    """(H, W) class ids -> a copy in which pixels of all other classes hold `void`."""
    dtype = _dtype_with(mask, void)
    ids = np.arange(max(int(mask.max(initial=0)), *classes, 0) + 1)
    values = np.where(np.isin(ids, list(classes)), ids, void).astype(dtype)
    return look_up(values, mask)


def keep_confident(
    mask: npt.NDArray[np.integer],
    confidence: npt.NDArray[np.uint8],
    threshold: float,
    void: int,
) -> npt.NDArray[np.integer]:
    """A copy in which pixels whose probability is below `threshold`, 0..1, hold `void`.

    `confidence` (H, W) is the probability x 255, so the comparison is in steps of 1/255.
    """
    level = math.ceil(round(255 * threshold, 6))  # 255 * 0.2 is a little more than 51
    kept = mask.astype(_dtype_with(mask, void))
    np.copyto(kept, kept.dtype.type(void), where=confidence < level)
    return kept


def keep_valid(
    mask: npt.NDArray[np.integer], valid: npt.NDArray[np.bool_], void: int
) -> npt.NDArray[np.integer]:
    """A copy in which pixels that are not `valid`, (H, W), hold `void`."""
    kept = mask.astype(_dtype_with(mask, void))
    np.copyto(kept, kept.dtype.type(void), where=~valid)
    return kept


def _dtype_with(mask: npt.NDArray[np.integer], void: int) -> np.dtype[np.integer]:
    """The mask's type, or int32 where `void` does not fit into it."""
    return mask.dtype if void <= np.iinfo(mask.dtype).max else np.dtype(np.int32)

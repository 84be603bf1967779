"""The bilinear upsampling of logits, as far as mask and confidence on the CPU share it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

HUGE: Final = 1e30  # stands in for infinity, because inf - inf has no sign


def finite(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logits whose differences are numbers: infinity becomes huge, and NaN the lowest value."""
    return np.nan_to_num(logits, nan=-HUGE, posinf=HUGE, neginf=-HUGE)


def pixel_positions(num_nodes: int, num_pixels: int) -> npt.NDArray[np.float32]:
    """The centres of one axis's pixels, in node spacings from the first node.

    (num_pixels,), ascending, and bit for bit those of
    `F.interpolate(mode="bilinear", align_corners=False)`: ATen computes
    `scale * (pixel + 0.5) - 0.5` in float32 with one fused multiply-add, which rounds once
    (area_pixel_compute_source_index in UpSample.h). The first and the last pixels lie outside
    0 .. num_nodes - 1, where interpolation repeats the outermost node.
    """
    scale = np.float64(np.float32(num_nodes) / np.float32(num_pixels))
    position = scale * (np.arange(num_pixels) + 0.5) - 0.5
    rounded: npt.NDArray[np.float32] = position.astype(np.float32)
    return rounded

"""Photo -> the model's input size, by torchvision's segmentation recipe."""

from __future__ import annotations

from typing import Final

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from imaging.pixel_array import rgb_array

# Long side over short side. Photos stay below; without it, 20000x1 would become 10 400 000 x 520.
MAX_ASPECT: Final = 4


def fit_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(h, w) px with the given short side, unless the long one would exceed MAX_ASPECT times it.

    Rounds as torchvision's `resize(size=short_side, max_size=MAX_ASPECT * short_side)` does, but
    leaves no side below 1.
    """
    max_long_side = MAX_ASPECT * short_side
    shorter, longer = sorted((width, height))
    short, long = short_side, short_side * longer // shorter
    if long > max_long_side:
        short, long = max(1, max_long_side * short // long), max_long_side
    return (short, long) if width > height else (long, short)


def resize(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """RGB image -> uint8 (3, h, w) on the CPU, bilinear with antialiasing.

    Equals torchvision.transforms.v2 on a uint8 tensor. v1 computes in float, Pillow in fixed point;
    both differ from it by at most 1.
    """
    # (1, 3, H, W) with the strides of (1, H, W, 3): ATen has a vectorised uint8 kernel for
    # these, ten times faster than for contiguous planes (12 megapixels: 8 ms against 78, 1 core).
    pixels = torch.from_numpy(rgb_array(image)).permute(2, 0, 1).unsqueeze(0)
    return interpolate(pixels, size=size, mode="bilinear", antialias=True).squeeze(0)

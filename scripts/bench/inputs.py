"""What the benchmark times its contenders on: drawn photos and synthetic logits."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from scripts.common.street import draw_street

PHOTO_SIZES: Final = {
    "0.3 MP": (491, 640),
    "2 MP": (1080, 1920),
    "12 MP": (3000, 4000),
}  # (H, W) px


def drawn_jpeg(size: tuple[int, int]) -> bytes:
    """A drawn street with the noise of a photo; `size` is (H, W) px."""
    height, width = size
    street = np.asarray(draw_street().resize((width, height), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 1))
    image = Image.fromarray((street + noise).clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def trained_like_logits(num_classes: int, height: int, width: int) -> Tensor:
    """Logits (1, num_classes, height, width) of smooth regions with clear winners.

    About a third of the cells touch a class boundary, as on photos: the mask's speed depends on it.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, num_classes, height // 7, width // 7, generator=generator)
    return 8 * interpolate(coarse, (height, width), mode="bicubic")

"""Pixels as the network was trained on them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normalize(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 (B, 3, H, W) -> fp32, scaled to [0, 1], less `mean`, over `std` (RGB, in 0..1)."""
    offset = torch.tensor(mean, device=pixels.device).view(3, 1, 1)
    scale = torch.tensor(std, device=pixels.device).view(3, 1, 1)
    return (pixels.float() / 255 - offset) / scale

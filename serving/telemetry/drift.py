"""What the model has seen recently: the classes' shares, and how much of it is uncertain.

Taken from the logits, on the network's own grid. There it costs less than a thousandth of a
forward, it does not depend on any client's options, and it needs no confidence map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# A winning class less probable than this has no majority.
LOW_CONFIDENCE = 0.5


class Shares(NamedTuple):
    """Shares of the pixels, 0..1: of each class, and of those of low confidence."""

    classes: list[float]
    low_confidence: float


class Drift:
    """The mean over the photos since the last `take`. For one thread."""

    def __init__(self) -> None:
        self.sum: Tensor | None = None  # (num_classes + 1,): shares of classes, of low confidence
        self.photos = 0

    def add(self, logits: Tensor) -> None:
        """Add one photo's logits, (1, num_classes, h, w) on any device."""
        confidence, ids = logits[0].float().softmax(0).max(0)
        num_classes = logits.shape[1]
        classes = torch.bincount(ids.flatten(), minlength=num_classes) / ids.numel()
        shares = torch.cat([classes, (confidence < LOW_CONFIDENCE).float().mean()[None]])
        self.sum = shares if self.sum is None else self.sum + shares
        self.photos += 1

    def take(self) -> Shares:
        """The means; starts a new period. Raises ValueError where there was no photo."""
        if self.sum is None:
            raise ValueError("there was no photo")
        *classes, low_confidence = (self.sum / self.photos).tolist()
        self.sum, self.photos = None, 0
        return Shares(classes, low_confidence)

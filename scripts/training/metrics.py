"""Confusion matrices -> intersection over union, pixel accuracy and a confidence interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from scripts.training.dataset import VOID

RESAMPLES: Final = 2000  # of the bootstrap: the ends of an interval vary by less than 0.1 points
COVERAGE: Final = 0.95


@dataclass(frozen=True)
class Scores:
    """Shares in 0..1. A class that is in neither the targets nor the masks has no IoU."""

    mean_iou: float
    pixel_accuracy: float
    iou: dict[str, float | None]  # by label
    num_frames: int


def confusion_matrix(mask: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Pixels int64 (C, C) of mask and target, int64 (H, W): rows are targets, columns masks."""
    matrix: Tensor = multiclass_confusion_matrix(
        mask, target, num_classes, ignore_index=VOID, validate_args=False
    )
    return matrix


def class_iou(confusion: Tensor) -> Tensor:
    """(..., C, C) pixels -> (..., C) intersection over union; NaN if a class does not occur."""
    counts = confusion.double()
    hits = counts.diagonal(dim1=-2, dim2=-1)
    return hits / (counts.sum(-2) + counts.sum(-1) - hits)


def scores_of(confusions: Tensor, labels: Sequence[str]) -> Scores:
    """Scores from the frames' confusion matrices (F, C, C), summed over the frames."""
    confusion = confusions.sum(0)
    iou = class_iou(confusion)
    return Scores(
        mean_iou=iou.nanmean().item(),
        pixel_accuracy=(confusion.diag().sum() / confusion.sum()).item(),
        iou={
            label: None if value.isnan() else value.item()
            for label, value in zip(labels, iou, strict=True)
        },
        num_frames=len(confusions),
    )


def mean_iou_interval(confusions: Tensor, seed: int = 0) -> tuple[float, float]:
    """The 95 % confidence interval of the mean IoU, by bootstrap over the frames (F, C, C).

    It covers the choice of frames, not that of drives: frames of one drive resemble each other, and
    figures of another drive may lie far outside.
    """
    num_frames = len(confusions)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(num_frames, np.full(num_frames, 1 / num_frames), RESAMPLES)
    # How often each frame was drawn, times its pixels: (resamples, F) x (F, C * C).
    sums = torch.from_numpy(draws).double() @ confusions.double().flatten(1)
    means = class_iou(sums.unflatten(1, confusions.shape[1:])).nanmean(1)
    tail = (1 - COVERAGE) / 2
    low, high = means.quantile(torch.tensor((tail, 1 - tail), dtype=means.dtype)).tolist()
    return low, high

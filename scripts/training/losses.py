"""Losses of logits against targets. None of them waits for a GPU: no shape depends on a value."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, one_hot

from scripts.training.dataset import VOID

MAX_CLASS_WEIGHT: Final = 3.0  # beyond it a rare class is painted over its surroundings
LOVASZ_STRIDE: Final = 4  # px; sorting every 16th pixel takes 5 % of a step, all would double it


def class_weights(pixels: Tensor) -> Tensor:
    """Pixels per class (C,) -> loss weights: root of the median count over a class's, bounded."""
    counts = pixels.float().clamp(min=1)
    return (counts.median() / counts).sqrt().clamp(1 / MAX_CLASS_WEIGHT, MAX_CLASS_WEIGHT)


def weighted_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean over the pixels that are not void, each with its class's weight; 0 if all are void.

    logits (B, C, h, w), target int64 (B, h, w), weights (C,).
    """
    total = cross_entropy(logits, target, weights, ignore_index=VOID, reduction="sum")
    of_pixels = weights[target.clamp(max=len(weights) - 1)] * (target != VOID)
    loss: Tensor = total / of_pixels.sum().clamp(min=1)
    return loss


def lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """Lovász-Softmax (Berman et al., 2018, https://arxiv.org/abs/1705.08790): 1 - IoU, convex.

    logits (B, C, h, w), target int64 (B, h, w). The mean over the classes in the batch, which
    counts as one image. A thin class weighs as much as a wide one, by its outline more than by its
    area.
    """
    num_classes = logits.shape[1]
    probabilities = logits.movedim(1, 0).flatten(1).softmax(0)  # (C, N)
    target = target.flatten()
    void = target == VOID
    truth = one_hot(target.masked_fill(void, 0), num_classes).T.float().masked_fill(void, 0)
    # Void pixels are sorted behind all others, where they cost nothing.
    errors = (truth - probabilities).abs().masked_fill(void, -1)
    errors, order = errors.sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    # The IoU that is left after the n worst pixels are got wrong, and what each of them costs.
    total = truth.sum(1, keepdim=True)
    iou = (total - truth.cumsum(1)) / (total + (1 - truth).cumsum(1))
    costs = -iou.diff(dim=1, prepend=torch.ones_like(total))
    present = total[:, 0] > 0
    losses = (errors.clamp(min=0) * costs).sum(1)
    loss: Tensor = (losses * present).sum() / present.sum().clamp(min=1)
    return loss


def segmentation_loss(
    logits: Tensor, target: Tensor, weights: Tensor, *, step: int, fine: bool
) -> Tensor:
    """Cross-entropy of logits (B, C, h, w) at the target's size: weighted, or, if fine, by outline.

    Lovász-Softmax comes in when the stride is fine enough to draw thin things. It balances the
    classes by itself: weights beside it paint rare ones over their surroundings (2 points of mIoU
    on CamVid). It sees every LOVASZ_STRIDE-th pixel of each side, other ones at every step.
    """
    logits = interpolate(logits.float(), target.shape[-2:], mode="bilinear")
    if not fine:
        return weighted_cross_entropy(logits, target, weights)
    rows, columns = divmod(step % LOVASZ_STRIDE**2, LOVASZ_STRIDE)
    sample = np.s_[..., rows::LOVASZ_STRIDE, columns::LOVASZ_STRIDE]
    even = torch.ones_like(weights)
    return weighted_cross_entropy(logits, target, even) + lovasz(logits[sample], target[sample])

"""Losses of logits against targets. None waits for a GPU: no shape depends on a value."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, one_hot

from scripts.training.dataset import VOID

MAX_CLASS_WEIGHT: Final = 3.0  # beyond it a rare class is predicted all around its objects
LOVASZ_STRIDE: Final = 4  # px; sorting every 16th pixel takes 5 % of a step, all would double it


def class_weights(pixels: Tensor) -> Tensor:
    """Pixels per class (C,) -> loss weights (C,), sqrt(median / pixels), bounded to both sides."""
    counts = pixels.float().clamp(min=1)
    return (counts.median() / counts).sqrt().clamp(1 / MAX_CLASS_WEIGHT, MAX_CLASS_WEIGHT)


def weighted_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean over the pixels that are not void, weighted by class; 0 if all are void.

    logits (B, C, h, w), target int64 (B, h, w), weights (C,).
    """
    total = cross_entropy(logits, target, weights, ignore_index=VOID, reduction="sum")
    of_pixels = weights[target.clamp(max=len(weights) - 1)] * (target != VOID)
    loss: Tensor = total / of_pixels.sum().clamp(min=1)
    return loss


def lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """Lovász-Softmax (Berman et al., 2018, https://arxiv.org/abs/1705.08790): 1 - IoU, convex.

    logits (B, C, h, w), target int64 (B, h, w). The mean over the classes that occur; the batch
    counts as one image. Classes of thin objects weigh as much as those of wide ones.
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
    # The IoU if the n worst pixels are wrong, and how much of it each of them costs.
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
    """Loss of logits (B, C, h, w) upsampled to the target's size, int64 (B, H, W).

    Weighted cross-entropy; if the output stride is fine enough for thin objects, plain
    cross-entropy with Lovász-Softmax, which balances the classes by itself: with weights, too, rare
    ones are predicted all around their objects (2 points of mIoU on CamVid). It sees every
    LOVASZ_STRIDE-th pixel of each axis, at every step other ones.
    """
    logits = interpolate(logits.float(), target.shape[-2:], mode="bilinear")
    if not fine:
        return weighted_cross_entropy(logits, target, weights)
    rows, columns = divmod(step % LOVASZ_STRIDE**2, LOVASZ_STRIDE)
    sample = np.s_[..., rows::LOVASZ_STRIDE, columns::LOVASZ_STRIDE]
    even = torch.ones_like(weights)
    return weighted_cross_entropy(logits, target, even) + lovasz(logits[sample], target[sample])

"""Losses of logits against targets. None waits for a GPU: no shape depends on a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, one_hot

from scripts.training.dataset import VOID

MAX_CLASS_WEIGHT: Final = 3.0  # beyond it a rare class is predicted all around its objects
LOSS_STRIDE: Final = 2  # px; neighbours say much the same, and all of them cost four times as much


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
    ones are predicted all around their objects (2 points of mIoU on CamVid). Cross-entropy sees
    every LOSS_STRIDE-th pixel of each axis and Lovász-Softmax every second of these, at every step
    other ones.
    """
    at = [slice(start, None, LOSS_STRIDE) for start in divmod(step % LOSS_STRIDE**2, LOSS_STRIDE)]
    logits = upsample_at(logits.float(), target.shape[-2:], at)
    target = target[..., at[0], at[1]]
    if not fine:
        return weighted_cross_entropy(logits, target, weights)
    rows, columns = divmod(step // LOSS_STRIDE**2 % 4, 2)
    half = np.s_[..., rows::2, columns::2]
    even = torch.ones_like(weights)
    return weighted_cross_entropy(logits, target, even) + lovasz(logits[half], target[half])


def upsample_at(logits: Tensor, size: Sequence[int], at: Sequence[slice]) -> Tensor:
    """The rows and columns `at` of fp32 logits (B, C, h, w), upsampled bilinearly to `size` (H, W).

    `interpolate(logits, size, mode="bilinear")[..., at[0], at[1]]` as two matrix products, which
    never builds the map of full size. Its gradient is another two: that of `interpolate` adds
    atomically, which took a sixth of a step on an H200, and two fifths at the coarse stride.
    """
    rows, columns = (
        linear_weights(nodes, pixels, logits.device)[part]
        for nodes, pixels, part in zip(logits.shape[-2:], size, at, strict=True)
    )
    return rows @ logits @ columns.T


def linear_weights(nodes: int, pixels: int, device: torch.device) -> Tensor:
    """(pixels, nodes): how much each node counts in each pixel of a line upsampled linearly."""
    unit = torch.eye(nodes, device=device)[None]
    return interpolate(unit, pixels, mode="linear")[0].T

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from scripts.training.dataset import VOID
from scripts.training.losses import (
    class_weights,
    lovasz,
    segmentation_loss,
    upsample_at,
    weighted_cross_entropy,
)


def certain(target: Tensor, num_classes: int) -> Tensor:
    """Logits whose softmax is 1 for these classes."""
    return 100.0 * torch.nn.functional.one_hot(target, num_classes).movedim(-1, 1)


def test_lovasz_of_a_certain_mask_is_one_minus_its_mean_iou() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (2, 9, 7), generator=generator)
    mask = torch.where(
        torch.rand(target.shape, generator=generator) < 0.3, (target + 1) % 3, target
    )
    iou = [
        ((mask == k) & (target == k)).sum() / ((mask == k) | (target == k)).sum() for k in range(3)
    ]
    expected = 1 - torch.stack(iou).mean()
    void = torch.full((2, 4, 7), VOID)  # does not count, whatever the mask says there
    logits = certain(torch.cat((mask, torch.zeros_like(void)), dim=1), 3)
    loss = lovasz(logits, torch.cat((target, void), dim=1))
    torch.testing.assert_close(loss, expected)


def test_lovasz_of_only_void_is_zero_with_a_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = lovasz(logits, torch.full((1, 4, 4), VOID))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_rare_classes_weigh_more_within_bounds() -> None:
    weights = class_weights(torch.tensor([4_000_000, 1000, 4000, 0, 250]))
    torch.testing.assert_close(weights, torch.tensor([1 / 3, 1.0, 0.5, 3.0, 2.0]))


@pytest.mark.parametrize("size", [(40, 56), (37, 50), (5, 7)])
def test_sampled_logits_and_their_gradient_are_those_of_interpolation(
    size: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 7, requires_grad=True)
    at = (slice(1, None, 2), slice(0, None, 2))
    plain = interpolate(logits, size, mode="bilinear")[..., at[0], at[1]]
    sampled = upsample_at(logits, size, at)
    torch.testing.assert_close(sampled, plain)
    change = torch.randn_like(plain)
    (expected,) = torch.autograd.grad(plain, logits, change)
    (gradient,) = torch.autograd.grad(sampled, logits, change)
    torch.testing.assert_close(gradient, expected)


def test_four_steps_see_every_pixel_once() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 7)
    target = torch.randint(0, 3, (2, 40, 56))
    weights = torch.tensor((0.5, 1.0, 2.0))
    losses = [segmentation_loss(logits, target, weights, step=n, fine=False) for n in range(4)]
    upsampled = interpolate(logits, (40, 56), mode="bilinear")
    parts = [np.s_[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
    for loss, part in zip(losses, parts, strict=True):
        expected = weighted_cross_entropy(upsampled[part], target[part], weights)
        torch.testing.assert_close(loss, expected)


def test_the_fine_loss_is_plain_cross_entropy_with_lovasz() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 7)
    target = torch.randint(0, 3, (2, 40, 56))
    upsampled = interpolate(logits, (40, 56), mode="bilinear")
    loss = segmentation_loss(logits, target, torch.tensor((0.5, 1.0, 2.0)), step=4, fine=True)
    seen, of_lovasz = np.s_[..., ::2, ::2], np.s_[..., ::4, 2::4]
    expected = weighted_cross_entropy(upsampled[seen], target[seen], torch.ones(3))
    expected = expected + lovasz(upsampled[of_lovasz], target[of_lovasz])
    torch.testing.assert_close(loss, expected)

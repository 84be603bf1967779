from __future__ import annotations

import torch
from torch import Tensor

from scripts.training.dataset import VOID
from scripts.training.losses import class_weights, lovasz


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

"""Shifted products against the convolution they stand for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from model import DeepLabHead
from model.optimize.atrous import (
    MIN_CHANNELS,
    AutotunedConv,
    ShiftedConv,
    enable_shifted_matmul,
    overlaps,
)
from model.optimize.fold import fold_batch_norms
from tests.conftest import randomize


def atrous_conv(dilation: int, dtype: torch.dtype = torch.float32) -> nn.Conv2d:
    conv = nn.Conv2d(24, 10, 3, padding=dilation, dilation=dilation).requires_grad_(False)
    return conv.to(dtype).to(memory_format=torch.channels_last)


def cells(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype).to(memory_format=torch.channels_last)


# Dilations within the map, at its very side (5), beyond its height (6), and beyond all of it.
@pytest.mark.parametrize("dilation", [1, 2, 4, 5, 6, 9, 40])
@pytest.mark.parametrize("batch", [1, 3])
def test_products_are_the_convolution(dilation: int, batch: int) -> None:
    conv, x = atrous_conv(dilation), cells(batch, 24, 6, 9)
    torch.testing.assert_close(ShiftedConv(conv)(x), conv(x).relu(), rtol=1e-5, atol=1e-5)


def test_products_round_once_in_bf16() -> None:
    conv = atrous_conv(12)
    x = cells(1, 24, 33, 47)
    half = copy.deepcopy(conv).bfloat16()
    expected = half.float()(x.bfloat16().float()).relu()
    shifted = ShiftedConv(half.bfloat16())(x.bfloat16())
    assert shifted.dtype == torch.bfloat16
    # Nine products and their sum, each rounded to 8 bits of significand.
    torch.testing.assert_close(shifted.float(), expected, rtol=0.02, atol=0.02)


def test_the_layout_stays_channels_last() -> None:
    y = ShiftedConv(atrous_conv(2))(cells(2, 24, 8, 8))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("shift", "written_and_read"),
    [(1, [([1, 2], [0, 1]), ([0, 1, 2], [0, 1, 2]), ([0, 1], [1, 2])]), (3, [([], [])])],
)
def test_a_tap_reads_what_lies_a_shift_away(
    shift: int, written_and_read: list[tuple[list[int], list[int]]]
) -> None:
    places = [0, 1, 2]
    seen = [(places[to], places[read]) for to, read in overlaps(3, shift)]
    assert seen[: len(written_and_read)] == written_and_read


class Slow(nn.Module):
    """A module that does its work many times over."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(200):
            y: Tensor = self.module(x)
        return y


@pytest.mark.slow
def test_the_first_call_keeps_the_faster_candidate() -> None:
    x = cells(1, 24, 20, 20)
    quick = nn.Sequential(atrous_conv(2), nn.ReLU())
    for plain, shifted, kept in ((Slow(quick), quick, quick), (quick, Slow(quick), quick)):
        conv = AutotunedConv(plain, shifted)
        assert torch.equal(conv(x), quick(x))
        assert list(conv.candidates) == [kept]


def test_each_wide_atrous_branch_may_choose() -> None:
    head = randomize(DeepLabHead(MIN_CHANNELS, num_classes=5, atrous_rates=(2, 4, 6)))
    fold_batch_norms(head)
    x = cells(2, MIN_CHANNELS, 12, 12)
    expected = head(x)
    enable_shifted_matmul(head)
    choices = [module for module in head.modules() if isinstance(module, AutotunedConv)]
    assert len(choices) == 3
    for choice in choices:
        choice.candidates = nn.ModuleList([choice.candidates[1]])  # whichever is faster here
    torch.testing.assert_close(head(x), expected, rtol=1e-4, atol=1e-4)


def test_narrow_branches_have_no_choice() -> None:
    head = DeepLabHead(512, num_classes=5)
    enable_shifted_matmul(head)
    assert not any(isinstance(module, AutotunedConv) for module in head.modules())

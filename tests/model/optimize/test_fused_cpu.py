"""Fused convolutions against the modules they stand for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from model import build_segmenter
from model.optimize.fold import fold_batch_norms
from model.optimize.fused_cpu import FusedBlock, FusedConv, can_fuse, fuse_convolutions
from tests.conftest import randomize

pytestmark = pytest.mark.skipif(
    not can_fuse(torch.float32), reason="this PyTorch has no fused operators"
)


@pytest.mark.parametrize(
    "backbone",
    [
        "resnet18",
        pytest.param("resnet50", marks=pytest.mark.slow),
        pytest.param("resnext50_32x4d", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("size", [(97, 97), (65, 129)])
def test_logits_are_those_of_the_modules(backbone: str, size: tuple[int, int]) -> None:
    net = randomize(build_segmenter(backbone, num_classes=5, features="layer3"))
    fold_batch_norms(net)
    net.to(memory_format=torch.channels_last)
    fused = copy.deepcopy(net)
    fuse_convolutions(fused)
    image = torch.randn(1, 3, *size).to(memory_format=torch.channels_last)
    before = image.clone()
    with torch.inference_mode():
        expected, logits = net(image), fused(image)
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert torch.equal(image, before)


def test_nothing_is_left_unfused() -> None:
    net = randomize(build_segmenter("resnet50", num_classes=5))
    fold_batch_norms(net)
    fuse_convolutions(net)
    kinds = {type(module) for module in net.modules()}
    assert not kinds & {nn.Conv2d, nn.ReLU, nn.BatchNorm2d}
    assert {FusedConv, FusedBlock} <= kinds


def test_a_convolution_alone_keeps_negative_values() -> None:
    conv = nn.Conv2d(16, 8, 1).requires_grad_(False)
    x = torch.randn(1, 16, 5, 5).to(memory_format=torch.channels_last)
    torch.testing.assert_close(FusedConv(conv, relu=False)(x), conv(x))
    torch.testing.assert_close(FusedConv(conv, relu=True)(x), conv(x).relu())


def test_a_shortcut_is_added_before_the_relu() -> None:
    conv = nn.Conv2d(16, 8, 3, padding=1).requires_grad_(False)
    x = torch.randn(1, 16, 5, 5).to(memory_format=torch.channels_last)
    shortcut = torch.randn(1, 8, 5, 5).to(memory_format=torch.channels_last)
    expected = (conv(x) + shortcut).relu()
    torch.testing.assert_close(FusedConv(conv, relu=True)(x, shortcut.clone()), expected)

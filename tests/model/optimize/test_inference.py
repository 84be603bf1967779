"""The optimised network against the plain one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model import build_segmenter, optimize_for_inference
from model.optimize import optimize_for_pixels
from model.segmenter import Segmenter
from tests.conftest import randomize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


@pytest.fixture
def plain() -> Segmenter:
    return randomize(build_segmenter("resnet18", num_classes=7, aux_head=True))


def test_fp32_logits_are_the_plain_ones(plain: Segmenter) -> None:
    fast = optimize_for_inference(plain, precision="fp32")
    image = torch.randn(2, 3, 129, 193)
    with torch.inference_mode():
        expected = plain(image)
    difference = (fast(image) - expected).abs().max()
    assert difference <= 1e-4 * expected.abs().max()


def test_bf16_logits_are_fp32_and_near(plain: Segmenter) -> None:
    fast = optimize_for_inference(plain, precision="bf16")
    image = torch.randn(1, 3, 129, 193)
    with torch.inference_mode():
        expected = plain(image)
    logits = fast(image)
    assert logits.dtype == torch.float32
    # bf16 keeps 8 bits of significand; some 20 layers of rounding stay within a few per cent.
    assert (logits - expected).abs().mean() <= 0.03 * expected.abs().mean()


def test_nothing_is_left_of_training(plain: Segmenter) -> None:
    fast = optimize_for_inference(plain, precision="fp32")
    modules = list(fast.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
    assert not any("aux" in name for name, _ in fast.named_parameters())
    assert not any(module.training for module in modules)
    assert not any(parameter.requires_grad for parameter in fast.parameters())


def test_the_plain_network_stays_as_it_was(plain: Segmenter) -> None:
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    optimize_for_inference(plain, precision="bf16")
    after = plain.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_unknown_precision_is_named(plain: Segmenter) -> None:
    with pytest.raises(ValueError, match=r"int4.*'bf16'"):
        optimize_for_inference(plain, precision="int4")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pixels_give_the_bits_that_normalised_floats_give(plain: Segmenter, precision: str) -> None:
    pixels = torch.randint(256, (2, 3, 65, 97), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    expected = optimize_for_inference(plain, "cpu", precision)((pixels.float() / 255 - mean) / std)
    fast = optimize_for_pixels(plain, MEAN, STD, "cpu", precision)
    logits = fast(pixels)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, expected)


def test_mean_and_deviation_are_buffers_in_fp32(plain: Segmenter) -> None:
    fast = optimize_for_pixels(plain, MEAN, STD, "cpu", "bf16")
    buffers = dict(fast.named_buffers())
    assert buffers["mean"].dtype == buffers["std"].dtype == torch.float32
    assert buffers["mean"].flatten().tolist() == pytest.approx(MEAN)
    assert buffers["std"].flatten().tolist() == pytest.approx(STD)

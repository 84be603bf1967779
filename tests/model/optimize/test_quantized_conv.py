"""int8 convolutions against their plain twin, and the twin against arithmetic by hand."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from model.optimize.quantized_conv import (
    FusedQuantizedConv,
    PlainQuantizedConv,
    Quantization,
    can_quantize,
    quantized_weight,
)

needs_operators = pytest.mark.skipif(
    not can_quantize(), reason="no int8 convolutions that are right on this processor"
)
is_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86's fault")

UNIT = Quantization.positive(1.0)


def random_map(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return steps.contiguous(memory_format=torch.channels_last)


def random_conv(channels: int, out: int, side: int, **geometry: int) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, out, side, **geometry).requires_grad_(False)  # type: ignore[arg-type]


def test_positive_numbers_in_steps() -> None:
    quantization = Quantization.positive(51.0)
    assert quantization == Quantization(0.2, 0)
    steps = quantization.quantize(torch.tensor([-1.0, 0.0, 0.1001, 0.2999, 51.0, 80.0]))
    assert steps.tolist() == [0, 0, 1, 1, 255, 255]
    assert quantization.dequantize(steps)[4] == pytest.approx(51.0)


def test_signed_numbers_in_steps() -> None:
    quantization = Quantization.signed(12.7)
    steps = quantization.quantize(torch.tensor([-12.7, -0.1, 0.0, 12.7, -90.0, 90.0]))
    assert steps.tolist() == [1, 127, 128, 255, 0, 255]
    assert quantization.dequantize(steps)[:4].tolist() == pytest.approx([-12.7, -0.1, 0.0, 12.7])


def test_weights_have_a_scale_for_each_output_channel() -> None:
    conv = nn.Conv2d(2, 3, 1)
    conv.weight = nn.Parameter(
        torch.tensor([[1.27, -0.635], [0.0, 0.0], [-254.0, 127.4]])[..., None, None]
    )
    steps, scales = quantized_weight(conv)
    assert steps.flatten(1).tolist() == [[127, -64], [0, 0], [-127, 64]]
    assert scales.tolist() == pytest.approx([0.01, 1 / 127, 2.0])


def test_the_twin_is_the_convolution_up_to_rounding() -> None:
    conv = random_conv(32, 16, 3, padding=1)
    x = random_map(1, 32, 9, 9)
    exact = conv(UNIT.dequantize(x))
    largest = float(exact.abs().max())
    y = PlainQuantizedConv(conv, UNIT, Quantization.signed(largest), relu=False)(x)
    weight_error = 9 * 32 * quantized_weight(conv)[1].max() / 2  # half a step of each weight
    error = (Quantization.signed(largest).dequantize(y) - exact).abs().max()
    assert error <= weight_error + largest / 127 / 2


@needs_operators
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(
    ("side", "geometry"),
    [
        (1, {}),
        (1, {"stride": 2}),
        (3, {"padding": 1, "stride": 2}),
        (3, {"padding": 2, "dilation": 2, "groups": 8}),
        (3, {"padding": 36, "dilation": 36}),  # all taps but the middle one read padding
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(1, 64, 17, 23), (3, 64, 5, 4)], ids=str)
def test_it_is_its_twin(
    side: int, geometry: dict[str, int], relu: bool, shape: tuple[int, ...]
) -> None:
    conv = random_conv(64, 48, side, **geometry)
    x = random_map(*shape)
    before = x.clone()
    for target in (Quantization.signed(2.0), None):
        plain, fast = (
            kind(conv, UNIT, target, relu=relu)(x)
            for kind in (PlainQuantizedConv, FusedQuantizedConv)
        )
        assert fast.dtype == plain.dtype == (torch.float32 if target is None else torch.uint8)
        assert fast.is_contiguous(memory_format=torch.channels_last)
        assert len(plain.unique()) > 20
        difference = (fast.double() - plain.double()).abs().max()
        assert difference <= (1e-4 if target is None else 1)
    assert torch.equal(x, before)


@needs_operators
@pytest.mark.parametrize("added", [Quantization.positive(3.0), Quantization.signed(3.0)])
def test_a_shortcut_is_added_before_the_relu(added: Quantization) -> None:
    conv = random_conv(64, 64, 3, padding=1)
    x, shortcut = random_map(2, 64, 7, 9), random_map(2, 64, 7, 9, seed=1)
    target = Quantization.positive(3.0)
    plain, fast = (
        kind(conv, UNIT, target, shortcut=added)(x, shortcut.clone())
        for kind in (PlainQuantizedConv, FusedQuantizedConv)
    )
    assert (fast.int() - plain.int()).abs().max() <= 1
    expected = (conv(UNIT.dequantize(x)) + added.dequantize(shortcut)).relu()
    assert (target.dequantize(fast) - expected.clamp(max=3.0)).abs().max() < 0.1


@is_x86
def test_a_processor_that_overflows_is_refused() -> None:
    """Without VNNI, pairs of products are added in 16 bits. oneDNN can be told to do without."""
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "from model.optimize.quantized_conv import can_quantize; print(can_quantize())",
        ],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "False", found.stderr


def test_a_pytorch_without_the_operators_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.ops, "onednn", raising=False)
    monkeypatch.setattr(torch.ops, "onednn", object(), raising=False)
    assert not can_quantize()

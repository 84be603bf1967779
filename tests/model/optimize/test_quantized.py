"""The int8 network against its plain twin and against the network in fp32."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from model import build_segmenter, calibrate, optimize_for_inference, optimize_for_pixels
from model.optimize.fold import folded
from model.optimize.quantized import map_average, quantized
from model.optimize.quantized_conv import (
    FusedQuantizedConv,
    PlainQuantizedConv,
    QuantizedConv,
    can_quantize,
)
from model.optimize.quantized_maps import stored_maps
from model.segmenter import Segmenter
from model.variant import MMSEG, Variant
from tests.conftest import randomize

CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's

needs_operators = pytest.mark.skipif(not can_quantize(), reason="no int8 convolutions")
CONVOLUTIONS = [PlainQuantizedConv, pytest.param(FusedQuantizedConv, marks=needs_operators)]


@pytest.fixture
def net() -> Segmenter:
    return randomize(build_segmenter("resnet18", 7, (2, 4), features="layer3", aux_head=True))


def image(height: int, width: int, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, 3, height, width, generator=generator)
    return noise.contiguous(memory_format=torch.channels_last)


def distance(a: Tensor, b: Tensor) -> float:
    """Relative; 1.4 for unrelated logits."""
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("resnet18", {}),
        ("resnet18", {"features": "layer3", "output_stride": 16}),
        ("resnet18", {"variant": Variant(MMSEG, deep_stem=True, head_channels=64)}),
        pytest.param("resnet34", {}, marks=pytest.mark.slow),
        pytest.param("resnet50", {"features": "layer3"}, marks=pytest.mark.slow),
        pytest.param("resnet101", {}, marks=pytest.mark.slow),
        pytest.param("resnext50_32x4d", {}, marks=pytest.mark.slow),
        pytest.param("wide_resnet50_2", {}, marks=pytest.mark.slow),
    ],
)
def test_logits_are_near_those_in_fp32(
    convolution: type[QuantizedConv], backbone: str, options: dict[str, object]
) -> None:
    net = randomize(build_segmenter(backbone, 7, (6, 12), **options))  # type: ignore[arg-type]
    x = image(129, 97, batch=2)
    calibration = calibrate(net, [x])
    plain = folded(net, CPU, torch.float32)
    with torch.inference_mode():
        logits = quantized(plain, calibration, convolution)(x)
        expected = net(x)
    assert logits.dtype == torch.float32
    assert logits.shape == expected.shape
    # Steps of 1/255 in each of 20 to 100 layers. With one scale too large by a half it is 0.2.
    assert distance(logits, expected) < 0.07


@needs_operators
@pytest.mark.parametrize("size", [(33, 65), (97, 130), (200, 121)])
def test_it_is_its_twin(net: Segmenter, size: tuple[int, int]) -> None:
    """A step of rounding changes others after it; hence nearly."""
    calibration = calibrate(net, [image(97, 130)])
    plain = folded(net, CPU, torch.float32)
    with torch.inference_mode():
        expected, logits = (
            quantized(plain, calibration, kind)(image(*size, seed=1))
            for kind in (PlainQuantizedConv, FusedQuantizedConv)
        )
    assert distance(logits, expected) < 0.02


@needs_operators
def test_images_of_a_batch_do_not_touch_each_other(net: Segmenter) -> None:
    x = image(97, 65, batch=3)
    fast = optimize_for_inference(net, "cpu", "int8", calibrate(net, [x]))
    alone = torch.cat([fast(one) for one in x.split(1)])
    assert distance(fast(x), alone) < 0.02


@needs_operators
def test_input_network_and_calibration_stay_as_they_were(net: Segmenter) -> None:
    x = image(65, 65)
    calibration = calibrate(net, [x])
    before = x.clone(), dict(calibration), {k: v.clone() for k, v in net.state_dict().items()}
    fast = optimize_for_inference(net, "cpu", "int8", calibration)
    first = fast(x)
    assert torch.equal(first, fast(x))
    assert torch.equal(x, before[0])
    assert calibration == before[1]
    assert all(torch.equal(value, before[2][name]) for name, value in net.state_dict().items())


@needs_operators
def test_pixels_give_the_logits_of_normalised_floats(net: Segmenter) -> None:
    pixels = torch.randint(256, (2, 3, 65, 97), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    x = (pixels.float() / 255 - mean) / std
    calibration = calibrate(net, [x])
    expected = optimize_for_inference(net, "cpu", "int8", calibration)(x)
    logits = optimize_for_pixels(net, MEAN, STD, "cpu", "int8", calibration)(pixels)
    assert logits.dtype == torch.float32
    assert distance(logits, expected) < 0.02


@needs_operators
def test_only_first_and_last_layer_and_image_level_are_in_float(net: Segmenter) -> None:
    fast = optimize_for_inference(net, "cpu", "int8", calibrate(net, [image(65, 65)]))
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    aux_convs = 2
    int8 = [m for m in fast.modules() if isinstance(m, FusedQuantizedConv)]
    assert len(int8) == len(convs) - aux_convs - 3


def test_a_calibration_of_another_network_is_refused(net: Segmenter) -> None:
    calibration = calibrate(net, [image(65, 65)])
    plain = folded(net, CPU, torch.float32)
    del calibration["backbone.layer3.1"]
    with pytest.raises(ValueError, match=r"another network.*backbone\.layer3\.1"):
        quantized(plain, calibration, PlainQuantizedConv)
    for value in (0.0, -1.0, float("nan"), float("inf")):
        wrong = dict.fromkeys(stored_maps(plain), 1.0) | {"backbone.layer3.1": value}
        with pytest.raises(ValueError, match=rf"backbone\.layer3\.1 is {value}"):
            quantized(plain, wrong, PlainQuantizedConv)


def test_int8_without_a_calibration_is_refused(net: Segmenter) -> None:
    with pytest.raises(ValueError, match="needs a calibration"):
        optimize_for_inference(net, "cpu", "int8")


def test_without_the_operators_it_falls_back_and_says_so(
    net: Segmenter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    x = image(65, 65)
    calibration = calibrate(net, [x])
    monkeypatch.setattr("model.optimize.precision.can_quantize", lambda: False)
    for precision in ("int8", "auto"):
        with caplog.at_level(logging.WARNING):
            fast = optimize_for_inference(net, "cpu", precision, calibration)
        (record,) = caplog.records
        assert "instead of int8: this PyTorch has no int8 convolutions" in record.message
        assert torch.equal(fast(x), optimize_for_inference(net, "cpu")(x))
        caplog.clear()


def test_the_average_of_many_cells_is_exact() -> None:
    steps = torch.full((2, 3, 90, 101), 255, dtype=torch.uint8)
    steps[1, 2] = 0
    steps[1, 2, 5, 7] = 90
    expected = torch.tensor([[255.0, 255, 255], [255, 255, 90 / (90 * 101)]])
    torch.testing.assert_close(map_average(steps).flatten(1), expected)

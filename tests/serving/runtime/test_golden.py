"""The golden image: what goes into service, and what does not."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from model import optimize_for_pixels
from model.calibration_file import read_calibration, write_calibration
from model.normalization import normalize
from model.optimize import precision as precisions
from model.optimize.quantized_conv import can_quantize
from model.preset import Preset, build_network, load_preset
from model.segmenter import Segmenter
from scripts.common.street import draw_street
from serving.runtime.golden import (
    IMAGE,
    LARGEST_DEVIATION,
    LARGEST_INT8_DEVIATION,
    LOGITS_FILE,
    check_golden,
    deviation,
    read_logits,
    record_golden,
)
from serving.runtime.loading import CALIBRATION_FILE, ArchiveError, ServedModel, load_model
from serving.runtime.service import load_service
from tests.archives import unpacked_archive
from tests.conftest import randomize

CPU = torch.device("cpu")
needs_int8 = pytest.mark.skipif(not can_quantize(), reason="no int8 convolutions")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_archive(tmp_path_factory.mktemp("archive"), calibrated=True)


@pytest.fixture
def preset(folder: Path) -> Preset:
    return load_preset(folder / "preset.yaml")


class Plain(nn.Module):
    """The network as it was trained, after the plain normalisation."""

    def __init__(self, net: nn.Module, preset: Preset) -> None:
        super().__init__()
        self.net = net.eval()
        self.preset = preset

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.net(normalize(pixels, self.preset.mean, self.preset.std))
        return logits


def served(net: nn.Module, preset: Preset) -> ServedModel:
    return ServedModel(net, CPU, preset, digest="", precision="fp32")


@pytest.mark.parametrize(
    ("precision", "largest"),
    [
        ("fp32", 0.001),
        ("bf16", LARGEST_DEVIATION / 2),
        pytest.param("int8", LARGEST_INT8_DEVIATION / 2, marks=needs_int8),
    ],
)
def test_what_was_built_goes_into_service(folder: Path, precision: str, largest: float) -> None:
    model = load_model(folder, CPU, precision)
    assert model.precision == precision
    assert 0 < check_golden(model, folder) < largest


def other_weights(net: Segmenter) -> None:
    randomize(net, seed=1)


def lost_convolution(net: Segmenter) -> None:
    nn.init.zeros_(net.get_parameter("backbone.layer2.0.conv1.weight"))


def exchanged_colours(net: Segmenter) -> None:
    weight = net.get_parameter("backbone.conv1.weight")
    weight.data = weight.data.flip(1)


def atrous_rate(net: Segmenter) -> None:
    conv = next(m for m in net.modules() if isinstance(m, nn.Conv2d) and m.dilation == (4, 4))
    conv.dilation = conv.padding = (2, 2)


def louder(net: Segmenter) -> None:
    with torch.no_grad():  # the same masks, but other probabilities
        net.get_parameter("classifier.4.weight").mul_(1.2)
        net.get_parameter("classifier.4.bias").mul_(1.2)


def not_a_number(net: Segmenter) -> None:
    nn.init.constant_(net.get_parameter("classifier.4.bias"), float("nan"))


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=needs_int8)])
@pytest.mark.parametrize(
    "fault",
    [other_weights, lost_convolution, exchanged_colours, atrous_rate, louder, not_a_number],
)
@pytest.mark.slow
def test_another_model_does_not_go_into_service(
    folder: Path, preset: Preset, fault: Callable[[Segmenter], None], precision: str
) -> None:
    net = build_network(preset)
    net.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    fault(net.eval())
    ranges = read_calibration(folder / CALIBRATION_FILE).ranges
    fast = optimize_for_pixels(net, preset.mean, preset.std, CPU, precision, ranges)
    model = replace(served(fast, preset), precision=precision)
    with pytest.raises(ArchiveError, match="does not reproduce the golden image") as caught:
        check_golden(model, folder)
    assert "\n" not in str(caught.value)


@pytest.fixture
def poorly_calibrated(folder: Path, tmp_path: Path) -> Path:
    """An archive whose ranges cut off most of what the maps hold."""
    copy = shutil.copytree(folder, tmp_path / "archive")
    stored = read_calibration(copy / CALIBRATION_FILE)
    narrow = {name: largest / 20 for name, largest in stored.ranges.items()}
    write_calibration(replace(stored, ranges=narrow), copy / CALIBRATION_FILE)
    return copy


@needs_int8
def test_auto_does_without_a_poor_calibration(
    poorly_calibrated: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precisions, "has_int8_products", lambda: True)
    with caplog.at_level(logging.WARNING):
        service = load_service(poorly_calibrated, "1.0", CPU)
    service.close()
    used = precisions.fast_precision(CPU)
    assert service.model.precision == service.info.precision == used
    assert service.info.headers()["Model-Precision"] == used
    assert json.loads(service.describe().body)["precision"] == used
    (record,) = caplog.records
    message = record.getMessage()
    assert f"the network runs in {used} instead of int8: " in message
    assert "int8 explains 15% at most. Calibrate again with more photos" in message
    assert "\n" not in message


@needs_int8
def test_int8_itself_is_refused_with_a_poor_calibration(poorly_calibrated: Path) -> None:
    with pytest.raises(ArchiveError, match=r"int8 explains 15% at most\. Calibrate again"):
        load_service(poorly_calibrated, "1.0", CPU, precision="int8")


def test_the_logits_on_record_are_the_plain_networks(folder: Path, preset: Preset) -> None:
    net = build_network(preset).eval()
    net.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    recorded = read_logits(folder / LOGITS_FILE)
    assert recorded.shape == (1, preset.num_classes, 8, 11)  # 64 pixels by 85, stride 8
    assert check_golden(served(Plain(net, preset), preset), folder) < 0.001


def test_logits_of_any_size_can_be_kept(preset: Preset, tmp_path: Path) -> None:
    """Untrained networks go to extremes; fp16 alone ends at 65504."""
    net = randomize(build_network(preset))
    with torch.no_grad():
        net.get_parameter("classifier.4.weight").mul_(1e12)
    record_golden(net, preset, tmp_path)
    assert check_golden(served(Plain(net, preset), preset), tmp_path) < 0.001


def test_two_records_are_the_same_bytes(folder: Path, preset: Preset, tmp_path: Path) -> None:
    net = build_network(preset)
    net.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    record_golden(net, preset, tmp_path)
    assert (tmp_path / LOGITS_FILE).read_bytes() == (folder / LOGITS_FILE).read_bytes()


def test_a_network_that_diverged_is_not_recorded(preset: Preset, tmp_path: Path) -> None:
    net = build_network(preset)
    not_a_number(net)
    with pytest.raises(ArchiveError, match="NaN or infinite"):
        record_golden(net, preset, tmp_path)


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (None, "is missing"),
        (b"", "is damaged"),
        (b"PK\x03\x04", "is damaged"),
        (b"x", "is damaged"),
    ],
)
def test_a_record_that_is_none(
    preset: Preset, tmp_path: Path, content: bytes | None, state: str
) -> None:
    if content is not None:
        (tmp_path / LOGITS_FILE).write_bytes(content)
    with pytest.raises(ArchiveError, match=rf"golden\.npz {state}.*build the archive again"):
        check_golden(served(build_network(preset), preset), tmp_path)


def test_deviation_by_hand() -> None:
    expected = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    assert deviation(expected, expected) == 0
    assert deviation(expected + 7, expected) == 0  # neither masks nor probabilities change
    assert deviation(1.5 * expected, expected) == pytest.approx(0.5)
    assert deviation(-expected, expected) == pytest.approx(2)
    assert deviation(expected, torch.zeros(1, 2, 1, 1)) > 1e30


def test_the_picture_is_the_drawn_street() -> None:
    assert np.array_equal(np.asarray(Image.open(IMAGE)), np.asarray(draw_street()))

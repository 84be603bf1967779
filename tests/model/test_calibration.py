"""Calibrations: which numbers a network's maps hold."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from model import build_segmenter, calibrate
from model.calibration import CPU, SHARES, Histogram, class_agreement, observe
from model.optimize.fold import folded
from model.segmenter import Segmenter
from tests.conftest import randomize


@pytest.fixture
def net() -> Segmenter:
    return randomize(build_segmenter("resnet18", 5, (2, 4), features="layer3"))


def photos(count: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 3, 65, 97, generator=generator) for _ in range(count)]


def test_ranges_are_the_largest_numbers_of_the_networks_own_maps(net: Segmenter) -> None:
    images = photos(2)
    histograms, _ = observe(folded(net, CPU, torch.float32), images)
    seen: dict[str, float] = {}

    def note(name: str, values: Tensor) -> None:
        seen[name] = max(seen.get(name, 0.0), float(values.max()))

    block = net.backbone.get_submodule("layer2.0")
    block.register_forward_hook(lambda _, __, y: note("backbone.layer2.0", y))
    block.get_submodule("bn1").register_forward_hook(
        lambda _, __, y: note("backbone.layer2.0.conv1", y)
    )
    block.get_submodule("downsample").register_forward_hook(
        lambda _, __, y: note("backbone.layer2.0.downsample.0", y.abs())
    )
    net.backbone.get_submodule("maxpool").register_forward_hook(
        lambda _, __, y: note("backbone.maxpool", y)
    )
    net.classifier[0].register_forward_hook(lambda _, __, y: note("classifier.0.project", y))
    with torch.inference_mode():
        for image in images:
            net(image)
    assert len(seen) == 5
    for name, largest in seen.items():
        assert histograms[name].covering(1.0) == pytest.approx(largest, rel=0.005), name


def test_the_same_photos_give_the_same_calibration(net: Segmenter) -> None:
    calibration = calibrate(net, photos(2))
    assert calibrate(net, iter(photos(2))) == calibration
    assert calibrate(net, photos(2, seed=1)) != calibration
    assert json.loads(json.dumps(calibration)) == calibration


def test_photos_may_differ_in_size_and_come_in_batches(net: Segmenter) -> None:
    batches = [torch.randn(2, 3, 65, 65), torch.randn(1, 3, 49, 130)]
    assert all(0 < value < float("inf") for value in calibrate(net, batches).values())


def test_the_share_is_the_one_with_which_most_cells_keep_their_class(
    net: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreements = {1.0: 0.8, 0.99999: 0.9, 0.9999: 0.9}
    remaining = iter(agreements.values())
    monkeypatch.setattr("model.calibration.class_agreement", lambda a, b: next(remaining))
    images = photos(1)
    histograms, _ = observe(folded(net, CPU, torch.float32), images)
    assert tuple(agreements) == SHARES
    expected = {name: histogram.covering(0.99999) for name, histogram in histograms.items()}
    assert calibrate(net, images) == expected  # the first of two that are equal


def test_no_photos_are_refused(net: Segmenter) -> None:
    with pytest.raises(ValueError, match="no photos to calibrate with"):
        calibrate(net, [])


def test_a_network_that_diverged_is_refused(net: Segmenter) -> None:
    nn.init.constant_(net.get_parameter("backbone.layer1.0.conv1.weight"), float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        calibrate(net, photos(1))


def test_a_histogram_by_hand() -> None:
    histogram = Histogram()
    histogram.add(torch.arange(1000).float())
    histogram.add(torch.tensor([5000.0]))
    assert histogram.covering(1.0) == pytest.approx(5000, rel=0.005)
    assert histogram.covering(0.999) == pytest.approx(999, rel=0.005)
    assert histogram.covering(0.5) == pytest.approx(500, rel=0.005)


def test_a_map_that_was_zero_everywhere_gets_a_range() -> None:
    histogram = Histogram()
    histogram.add(torch.zeros(10))
    assert histogram.covering(1.0) == 1.0


def test_agreement_by_hand() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    assert class_agreement([a], [a]) == 1.0
    assert class_agreement([a, a], [a, a.flip(1)]) == 0.5

"""`make quantize`: what it writes, what it measures, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model import calibrate
from model.calibration import CPU
from model.calibration_file import calibration_path, read_calibration
from model.digest import sha256_of
from model.optimize.precision import fast_precision
from model.preset import Preset, build_network, load_preset
from model.segmenter import Segmenter
from scripts import evaluate, quantize
from scripts.archive.calibration import calibration_of
from scripts.quantization.layers import layer_losses
from scripts.quantization.measurement import Measurement, TooFarOff, measure
from scripts.quantization.photos import find_photos, spread
from scripts.training.dataset import DataError
from scripts.training.metrics import Scores
from tests.conftest import randomize
from tests.scripts.training.labelled import write_preset, write_split


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def preset(tmp_path: Path) -> Preset:
    return load_preset(write_preset(tmp_path / "drawn.yaml"))


@pytest.fixture
def weights(tmp_path: Path, preset: Preset) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(randomize(build_network(preset)).state_dict(), path)
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    return write_split(tmp_path / "labelled", 5)


@pytest.fixture
def options(tmp_path: Path, weights: Path) -> list[str]:
    report = str(tmp_path / "build" / "report.json")
    preset_file = str(tmp_path / "drawn.yaml")
    return ["--preset", preset_file, "--weights", str(weights), "--report", report, "--photos", "2"]


def read_report(tmp_path: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((tmp_path / "build" / "report.json").read_text())
    return document


@pytest.mark.slow
def test_labelled_photos(
    labelled: Path,
    weights: Path,
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert quantize.main([*options, "--data", str(labelled), "--max-drop", "100"]) == 0
    stored = read_calibration(calibration_path(weights))
    assert (stored.weights, stored.photos) == (sha256_of(weights), 2)

    report = read_report(tmp_path)
    assert report["photos"] == {"calibrated_with": 2, "measured_on": 3}
    assert report["weights"] == sha256_of(weights)
    scores = report["scores"]
    assert isinstance(scores, dict)
    assert list(scores) == list(dict.fromkeys(("fp32", fast_precision(CPU), "int8")))
    lost = 100 * (scores["fp32"]["mean_iou"] - scores["int8"]["mean_iou"])
    assert report["drop"] == pytest.approx(lost)
    layers = report["layers"]
    assert isinstance(layers, dict)
    assert layers.keys() == stored.ranges.keys()
    assert list(layers.values()) == sorted(layers.values(), reverse=True)

    printed = capsys.readouterr().out
    assert "calibrated with 2 photos, measured on 3" in printed
    assert next(iter(layers)) in printed
    assert "mean IoU" in printed

    # The report's own figures by another way: the pipeline that `make eval` runs.
    measured = tmp_path / "measured"
    for kind in ("images", "masks"):
        (measured / kind).mkdir(parents=True)
        for name in ("1.png", "3.png", "4.png"):
            shutil.copy(labelled / kind / name, measured / kind)
    shared = [*options[:4], "--data", str(measured), "--precision", "int8", "--json"]
    assert evaluate.main(shared) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["mean_iou"] == pytest.approx(scores["int8"]["mean_iou"], abs=0.02)


def test_photos_without_masks(
    labelled: Path, weights: Path, options: list[str], tmp_path: Path
) -> None:
    shutil.rmtree(labelled / "masks")
    photos = (labelled / "images").rename(tmp_path / "photos")
    status = quantize.main([*options, "--data", str(photos)])
    report = read_report(tmp_path)
    assert report["scores"] == {}
    assert report["drop"] is None
    agreement = report["agreement"]
    assert isinstance(agreement, dict)
    assert 0.8 < agreement["worst"] <= agreement["mean"] <= 1
    # Random weights leave classes nearly level; whether 99 % agree is for the status to say.
    assert status == (0 if agreement["mean"] >= 0.99 else 1)
    assert calibration_path(weights).exists() == (status == 0)


def test_a_loss_beyond_the_limit_is_refused_after_the_report(
    labelled: Path,
    weights: Path,
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert quantize.main([*options, "--data", str(labelled), "--max-drop", "-100"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: int8 loses ")
    assert "-100 are allowed (MAX_DROP)" in error
    assert not calibration_path(weights).exists()
    assert read_report(tmp_path)["photos"]


def test_a_calibration_that_no_worker_serves_is_refused(
    labelled: Path,
    weights: Path,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def too_narrow(net: Segmenter, batches: Iterable[Tensor]) -> dict[str, float]:
        return {name: largest / 20 for name, largest in calibrate(net, batches).items()}

    monkeypatch.setattr(quantize, "calibrate", too_narrow)
    assert quantize.main([*options, "--data", str(labelled), "--max-drop", "100"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"error: int8 moves the logits of the golden image by \d+\.\d%, and a worker serves it up "
        r"to 15%: the calibration is not kept\. Try more photos, or others",
        error,
    )
    assert not calibration_path(weights).exists()


def test_a_calibration_of_other_weights_is_left_out(
    labelled: Path,
    weights: Path,
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert quantize.main([*options, "--data", str(labelled), "--max-drop", "100"]) == 0
    preset = load_preset(tmp_path / "drawn.yaml")
    assert calibration_of(weights, preset) is not None
    assert calibration_of(weights, replace(preset, short_side=1000)) is None
    assert "and drawn has 1000: it is left out" in capsys.readouterr().err
    state = torch.load(weights, weights_only=True)
    state["classifier.4.bias"] += 1
    torch.save(state, weights)
    assert calibration_of(weights, preset) is None
    assert "weights.calibration.json is of other weights" in capsys.readouterr().err


def test_other_photos_to_measure_on(labelled: Path, options: list[str], tmp_path: Path) -> None:
    other = write_split(tmp_path / "other", 1, seed=50)
    arguments = [*options, "--data", str(labelled), "--measure", str(other), "--max-drop", "100"]
    assert quantize.main(arguments) == 0
    assert read_report(tmp_path)["photos"] == {"calibrated_with": 2, "measured_on": 1}


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(DataError, match="holds neither photos"):
        find_photos(tmp_path)


def test_a_spread_is_even_and_never_repeats() -> None:
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread(range(3), 4) == [0, 1, 2]
    assert spread(range(100), 100) == list(range(100))


def test_agreement_by_hand(preset: Preset, labelled: Path) -> None:
    photos = find_photos(labelled)[:2]
    exact = torch.zeros(64, 96).byte().numpy()
    other = exact.copy()
    other[:16] = 1
    masks = iter((exact, other))
    measurement = measure({"fp32": lambda _: exact, "int8": lambda _: next(masks)}, photos, preset)
    assert measurement.agreement == {"0.png": 1.0, "1.png": 0.75}
    assert measurement.mean_agreement == 0.875
    assert measurement.worst_photo == "1.png"
    assert set(measurement.scores) == {"fp32", "int8"}


def scores(mean_iou: float) -> Scores:
    return Scores(mean_iou, 1.0, {}, 1)


def test_what_is_too_far_off() -> None:
    labelled = Measurement({"a": 0.5}, {"fp32": scores(0.70), "int8": scores(0.69)})
    assert labelled.drop == pytest.approx(1.0)
    labelled.check(max_drop=1.1, min_agreement=0.99)
    with pytest.raises(TooFarOff, match=r"loses 1\.00 points"):
        labelled.check(max_drop=0.5, min_agreement=0.99)
    unlabelled = Measurement({"a": 1.0, "b": 0.97}, {})
    unlabelled.check(max_drop=0.5, min_agreement=0.98)
    with pytest.raises(TooFarOff, match=r"98\.50% of the pixels"):
        unlabelled.check(max_drop=0.5, min_agreement=0.99)


def test_a_layer_with_a_range_far_too_large_loses_most(preset: Preset) -> None:
    net = randomize(build_network(preset))
    image = torch.randn(1, 3, 65, 97)
    ranges = calibrate(net, [image])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ranges["backbone.layer2.0.conv1"] *= 100
    losses = layer_losses(net, ranges, image)
    assert next(iter(losses)) == "backbone.layer2.0.conv1"
    assert losses.keys() == ranges.keys()
    assert 0 < min(losses.values()) < 0.03
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())

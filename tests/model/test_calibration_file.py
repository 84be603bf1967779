"""Calibrations as files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model.calibration_file import (
    CalibrationError,
    StoredCalibration,
    calibration_path,
    read_calibration,
    write_calibration,
)
from model.preset import load_preset

STORED = StoredCalibration(
    weights="ab" * 32,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    short_side=576,
    photos=32,
    ranges={"backbone.maxpool": 0.1, "classifier.0.convs.0": 7},
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_calibration(STORED, tmp_path / "a.json")
    assert read_calibration(tmp_path / "a.json") == STORED


def test_it_is_beside_its_weights() -> None:
    assert calibration_path(Path("models/my.v2.pth")) == Path("models/my.v2.calibration.json")


def test_it_belongs_to_weights_and_to_how_photos_are_prepared() -> None:
    preset = load_preset("street-resnet18")
    assert STORED.misfit(preset, "ab" * 32) is None
    assert STORED.misfit(preset, "cd" * 32) == "other weights"
    for changed, misfit in (
        (replace(preset, short_side=288), "short_side 576, and street-resnet18 has 288"),
        (
            replace(preset, mean=(0.5, 0.5, 0.5)),
            r"mean (0.485, 0.456, 0.406), and street-resnet18 ",
        ),
        (
            replace(preset, std=(1.0, 1.0, 1.0)),
            "std (0.229, 0.224, 0.225), and street-resnet18 has",
        ),
    ):
        assert str(STORED.misfit(changed, "ab" * 32)).startswith(misfit)


def test_the_default_models_belongs_to_it() -> None:
    preset = load_preset("street-resnet18")
    assert preset.weights is not None
    assert preset.weights.file is not None
    stored = read_calibration(calibration_path(Path(preset.weights.file)))
    assert stored.misfit(preset, preset.weights.sha256) is None


@pytest.mark.parametrize("key", ["weights", "mean", "std", "short_side", "photos", "ranges"])
@pytest.mark.parametrize("value", [None, "wide", ["wide"]])
def test_each_value_is_checked(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "a.json"
    write_calibration(STORED, path)
    document = {**json.loads(path.read_text()), key: value if key != "weights" else 1}
    path.write_text(json.dumps(document))
    with pytest.raises(CalibrationError, match="is not a calibration"):
        read_calibration(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"weights": "a", "photos": 1}',
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.calibration.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=r"^a\.calibration\.json is not a calibration"):
        read_calibration(path)


def test_a_missing_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"^a\.json cannot be read: No such file"):
        read_calibration(tmp_path / "a.json")

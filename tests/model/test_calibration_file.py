"""Calibrations as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.calibration_file import (
    CalibrationError,
    StoredCalibration,
    calibration_path,
    read_calibration,
    write_calibration,
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    stored = StoredCalibration("ab" * 32, 32, {"backbone.maxpool": 0.1, "classifier.0.convs.0": 7})
    write_calibration(stored, tmp_path / "a.json")
    assert read_calibration(tmp_path / "a.json") == stored


def test_it_is_beside_its_weights() -> None:
    assert calibration_path(Path("models/my.v2.pth")) == Path("models/my.v2.calibration.json")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"weights": "a", "photos": 1}',
        b'{"weights": 1, "photos": 1, "ranges": {}}',
        b'{"weights": "a", "photos": 1, "ranges": {"layer": "wide"}}',
        b'{"weights": "a", "photos": 1, "ranges": {"layer": [1]}}',
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

"""The calibration that belongs to a weights file."""

from __future__ import annotations

from pathlib import Path

from model.calibration_file import StoredCalibration, calibration_path, read_calibration
from model.digest import sha256_of
from scripts.common.terminal import say, shown


def calibration_of(weights: Path) -> StoredCalibration | None:
    """The calibration beside a weights file, if there is one of exactly these weights.

    Raises CalibrationError where it is damaged.
    """
    path = calibration_path(weights)
    if not path.is_file():
        return None
    stored = read_calibration(path)
    if stored.weights != sha256_of(weights):
        say(f"{shown(path)} is of other weights, and is left out; make quantize makes a new one")
        return None
    return stored

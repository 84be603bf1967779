"""The calibration that belongs to a weights file."""

from __future__ import annotations

from pathlib import Path

from model.calibration_file import StoredCalibration, calibration_path, read_calibration
from model.digest import sha256_of
from model.preset import Preset
from scripts.common.terminal import say, shown


def calibration_of(weights: Path, preset: Preset) -> StoredCalibration | None:
    """The calibration beside a weights file, if it is of exactly these weights in this preset.

    Raises CalibrationError where it is damaged.
    """
    path = calibration_path(weights)
    if not path.is_file():
        return None
    stored = read_calibration(path)
    misfit = stored.misfit(preset, sha256_of(weights))
    if misfit:
        say(f"{shown(path)} is of {misfit}: it is left out; make quantize makes a new one")
        return None
    return stored

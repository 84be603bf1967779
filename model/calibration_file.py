"""A calibration as a file: beside the weights that it was made with, and in an archive.

{"weights": "<SHA-256 of their file>", "photos": 32, "ranges": {"backbone.maxpool": 4.5, ...}}
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


class CalibrationError(ValueError):
    """A calibration file that cannot be used. One line, with its name and what is wrong."""


@dataclass(frozen=True)
class StoredCalibration:
    weights: str  # 64 hex digits: the SHA-256 of the weights file
    photos: int  # how many it was made with
    ranges: dict[str, float]  # what `model.calibrate` gives


def calibration_path(weights: Path) -> Path:
    """Where the calibration of a weights file is looked for: my.pth -> my.calibration.json."""
    return weights.with_suffix(".calibration.json")


def write_calibration(stored: StoredCalibration, path: Path) -> None:
    """Write a calibration as `read_calibration` reads it; the same one gives the same bytes."""
    path.write_text(json.dumps(asdict(stored), indent=1) + "\n", encoding="ascii")


def read_calibration(path: Path) -> StoredCalibration:
    """Raises CalibrationError unless the file holds a calibration, whatever its network."""
    try:
        document = json.loads(path.read_bytes())
        weights, photos, ranges = (document[key] for key in ("weights", "photos", "ranges"))
        if not (isinstance(weights, str) and isinstance(photos, int) and isinstance(ranges, dict)):
            raise TypeError
        return StoredCalibration(
            weights, photos, {name: float(largest) for name, largest in ranges.items()}
        )
    except OSError as error:
        raise CalibrationError(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CalibrationError(
            f"{path.name} is not a calibration; make quantize makes one"
        ) from error

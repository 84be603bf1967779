"""A calibration as a file: beside the weights that it was made with, and in an archive.

{"weights": "<SHA-256 of their file>", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
"short_side": 576, "photos": 32, "ranges": {"backbone.maxpool": 4.5, ...}}
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from model.preset import Preset


class CalibrationError(ValueError):
    """A calibration file that cannot be used. One line, with its name and what is wrong."""


@dataclass(frozen=True)
class StoredCalibration:
    weights: str  # 64 hex digits: the SHA-256 of the weights file
    mean: tuple[float, ...]  # mean, std and short_side are the preset's
    std: tuple[float, ...]
    short_side: int
    photos: int  # how many it was made with
    ranges: dict[str, float]  # what `model.calibrate` gives

    def misfit(self, preset: Preset, weights: str) -> str | None:
        """What it is of instead: of other weights, or of photos prepared in another way.

        The ranges hold only for what they were measured with. None where the calibration belongs to
        the preset with the weights of that SHA-256.
        """
        if self.weights != weights:
            return "other weights"
        for key in ("mean", "std", "short_side"):
            own, needed = getattr(self, key), getattr(preset, key)
            if own != needed:
                return f"{key} {own}, and {preset.name} has {needed}"
        return None


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
        weights, ranges = document["weights"], document["ranges"]
        short_side, photos = document["short_side"], document["photos"]
        if not (isinstance(weights, str) and isinstance(ranges, dict)):
            raise TypeError
        if not (isinstance(short_side, int) and isinstance(photos, int)):
            raise TypeError
        return StoredCalibration(
            weights=weights,
            mean=tuple(map(float, document["mean"])),
            std=tuple(map(float, document["std"])),
            short_side=short_side,
            photos=photos,
            ranges={name: float(largest) for name, largest in ranges.items()},
        )
    except OSError as error:
        raise CalibrationError(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CalibrationError(
            f"{path.name} is not a calibration; make quantize makes one"
        ) from error

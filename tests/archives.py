"""Small archives with seeded random weights, for tests that need a model that answers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from model import build_segmenter, calibrate
from model.calibration_file import StoredCalibration, write_calibration
from model.normalization import normalize
from model.preset import Preset, WeightsSource, dump_preset
from serving.runtime.golden import golden_pixels, record_golden
from serving.runtime.loading import CALIBRATION_FILE
from tests.conftest import randomize

LABELS = ("ground", "water", "wall", "roof", "plant")
PALETTE = ((0, 0, 0), (0, 0, 255), (128, 128, 128), (200, 80, 40), (0, 160, 0))


def unpacked_archive(folder: Path, short_side: int = 64, *, calibrated: bool = False) -> Path:
    """The files that a worker finds in its model folder, the code aside: a tiny ResNet-18 model."""
    net = randomize(build_segmenter("resnet18", len(LABELS), (2, 4), features="layer3"))
    weights = folder / "weights.pth"
    torch.save(net.state_dict(), weights)
    preset = Preset(
        name="tiny",
        description="A tiny model with random weights, for tests.",
        backbone="resnet18",
        features="layer3",
        output_stride=8,
        atrous_rates=(2, 4),
        short_side=short_side,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        labels=LABELS,
        palette=PALETTE,
        weights=WeightsSource(
            file=weights.name, url=None, sha256=hashlib.sha256(weights.read_bytes()).hexdigest()
        ),
    )
    dump_preset(preset, folder / "preset.yaml")
    record_golden(net, preset, folder)
    if calibrated:
        assert preset.weights is not None
        pixels = normalize(golden_pixels(preset), preset.mean, preset.std)
        ranges = calibrate(net, [pixels])
        stored = StoredCalibration(
            weights=preset.weights.sha256,
            mean=preset.mean,
            std=preset.std,
            short_side=short_side,
            photos=1,
            ranges=ranges,
        )
        write_calibration(stored, folder / CALIBRATION_FILE)
    return folder

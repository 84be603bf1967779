"""A hand-checkable model of three classes."""

from __future__ import annotations

import pytest

from model.preset import Preset
from serving.types import ModelInfo


@pytest.fixture
def preset() -> Preset:
    return Preset(
        name="toy",
        description="three classes",
        backbone="resnet18",
        features="layer3",
        output_stride=8,
        atrous_rates=(12, 24, 36),
        short_side=64,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        labels=("background", "road", "car"),
        palette=((0, 0, 0), (128, 64, 128), (64, 0, 128)),
        weights=None,
    )


@pytest.fixture
def info() -> ModelInfo:
    return ModelInfo("toy", "1.0", "sha256:" + "0" * 64, "fp32")

from __future__ import annotations

from dataclasses import replace

import pytest

from model.preset import Preset, load_preset
from serving.label_map import label_map_of, void_id


@pytest.mark.parametrize(
    ("labels", "void"),
    [
        (("background", "road"), 0),
        (("road", "__background__"), 1),
        (("Background",), 0),
        (("road", "car"), 255),
        (tuple(map(str, range(255))), 255),
        (tuple(map(str, range(256))), 65_535),
    ],
)
def test_void(labels: tuple[str, ...], void: int) -> None:
    assert void_id(labels) == void


def test_the_presets() -> None:
    assert label_map_of(load_preset("voc-resnet50")).void == 0
    street = load_preset("street-resnet18")
    labels, palette, void = label_map_of(street)
    assert (void, labels[void], palette[void]) == (255, "void", (0, 0, 0))
    assert tuple(labels[:11]) == street.labels
    assert len(labels) == len(palette) == 256


def test_a_preset_with_background_has_no_more_than_its_classes(preset: Preset) -> None:
    assert label_map_of(preset) == (preset.labels, preset.palette, 0)
    assert len(label_map_of(replace(preset, labels=("a", "b", "c"))).labels) == 256

"""What the values of a mask stand for: the preset's classes, and void.

Void is what the options `classes` and `threshold` leave of a pixel: no class. A preset that has a
background class has its place for that; elsewhere it is 255, as in PASCAL VOC and Cityscapes, or
65535 where 255 is itself a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from model.preset import Colour, Preset

BACKGROUND: Final = "background"  # a label, bare or in underscores as torchvision writes it
VOID: Final = "void"
VOID_COLOUR: Final = (0, 0, 0)  # an overlay leaves the photo as it is under black


class LabelMap(NamedTuple):
    """Labels and colours by pixel value; values between the classes and void are void's, too."""

    labels: Sequence[str]
    palette: Sequence[Colour]
    void: int


def label_map_of(preset: Preset) -> LabelMap:
    void = void_id(preset.labels)
    gap = max(0, void + 1 - preset.num_classes)
    return LabelMap(
        preset.labels + (VOID,) * gap,
        preset.palette + (VOID_COLOUR,) * gap,
        void,
    )


def void_id(labels: Sequence[str]) -> int:
    """The id of the background class, else the mask's largest value that is no class."""
    for index, label in enumerate(labels):
        if label.strip("_").lower() == BACKGROUND:
            return index
    return 255 if len(labels) <= 255 else 65_535

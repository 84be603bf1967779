"""What an encoder makes a response of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.export.polygons import Polygon, class_polygons
from imaging.export.summary import ClassSummary, class_summaries
from model.preset import Preset
from serving.label_map import LabelMap, label_map_of
from serving.types import UNNAMED, ModelInfo, Segmentation, TensorOptions


@dataclass(frozen=True)
class EncoderInput:
    """A photo's classes, what they mean, which model found them, and what the client told of it."""

    segmentation: Segmentation
    preset: Preset
    model: ModelInfo
    name: str = UNNAMED  # of the photo's file
    tensors: TensorOptions = field(default_factory=TensorOptions)

    @property
    def mask(self) -> npt.NDArray[np.integer]:
        """(H, W) class ids, of which `label_map.void` may be one more."""
        return self.segmentation.mask

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the upright photo."""
        height, width = self.mask.shape
        return height, width

    @property
    def confidence(self) -> npt.NDArray[np.uint8]:
        """(H, W) probability of the winning class x 255."""
        if self.segmentation.confidence is None:
            raise ValueError("this format needs the confidence, which was not computed")
        return self.segmentation.confidence

    @property
    def original(self) -> Image.Image:
        if self.segmentation.original is None:
            raise ValueError("this format shows the photo, which was not kept")
        return self.segmentation.original

    @cached_property
    def label_map(self) -> LabelMap:
        return label_map_of(self.preset)

    # What several formats need is computed once.

    @cached_property
    def classes(self) -> list[ClassSummary]:
        """Every class in the mask, void too, largest first."""
        labels, palette, _ = self.label_map
        return class_summaries(self.mask, self.confidence, labels, palette)

    @cached_property
    def objects(self) -> list[ClassSummary]:
        """The classes that annotations are made of: all but void."""
        return [entry for entry in self.classes if entry["id"] != self.label_map.void]

    @cached_property
    def polygons(self) -> dict[int, list[Polygon]]:
        """The regions of each class, by its id."""
        return class_polygons(self.mask)

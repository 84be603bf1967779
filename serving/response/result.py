"""What an answer is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.export.summary import ClassSummary, class_summaries
from model.preset import Preset
from serving.label_map import Legend, legend_of
from serving.model_info import ModelInfo
from serving.runtime.pipeline import Segmentation
from serving.types import Request


@dataclass(frozen=True)
class Result:
    """A photo's classes, what they mean, who found them, and what was asked of the answer."""

    request: Request
    segmentation: Segmentation
    preset: Preset
    info: ModelInfo

    @property
    def mask(self) -> npt.NDArray[np.integer]:
        """(H, W) class ids, of which `legend.void` may be one more."""
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
            raise ValueError("this output is made of the confidence, which was not computed")
        return self.segmentation.confidence

    @property
    def original(self) -> Image.Image:
        if self.segmentation.original is None:
            raise ValueError("this output shows the photo, which was not kept")
        return self.segmentation.original

    @cached_property
    def legend(self) -> Legend:
        return legend_of(self.preset)

    def classes(self) -> list[ClassSummary]:
        """Every class in the mask, void too, largest first."""
        labels, palette, _ = self.legend
        return class_summaries(self.mask, self.confidence, labels, palette)

    def objects(self) -> list[ClassSummary]:
        """The classes that annotations are made of: all but void, which is where none are."""
        return [entry for entry in self.classes() if entry["id"] != self.legend.void]

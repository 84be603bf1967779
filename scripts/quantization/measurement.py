"""What int8 costs: its masks compared with those in fp32, and all of them with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm

from model.preset import Preset
from scripts.common.terminal import UserError
from scripts.quantization.photos import Photo
from scripts.training.dataset import DataError, read_target
from scripts.training.evaluation import Predict
from scripts.training.metrics import Scores, confusion_matrix, scores_of

EXACT, INT8 = "fp32", "int8"


class TooFarOff(UserError):
    """The int8 network's masks differ too much from those in fp32."""


@dataclass(frozen=True)
class Measurement:
    """`agreement` is the share of pixels with the same class in int8 and fp32, by photo's name."""

    agreement: dict[str, float]
    scores: dict[str, Scores]  # by precision; empty without masks

    @property
    def mean_agreement(self) -> float:
        return sum(self.agreement.values()) / len(self.agreement)

    @property
    def worst_photo(self) -> str:
        return min(self.agreement, key=self.agreement.__getitem__)

    @property
    def drop(self) -> float | None:
        """Points of mean IoU that int8 loses; None without masks."""
        if not self.scores:
            return None
        return 100 * (self.scores[EXACT].mean_iou - self.scores[INT8].mean_iou)

    def check(self, max_drop: float, min_agreement: float) -> None:
        """Raise TooFarOff above `max_drop` points, without masks below `min_agreement` (0..1)."""
        if self.drop is not None and self.drop > max_drop:
            raise TooFarOff(
                f"int8 loses {self.drop:.2f} points of mean IoU, and {max_drop:g} are allowed "
                "(MAX_DROP): the calibration is not kept. Try more photos, or others"
            )
        if self.drop is None and self.mean_agreement < min_agreement:
            raise TooFarOff(
                f"int8 gives {self.mean_agreement:.2%} of the pixels the class of fp32, and "
                f"{min_agreement:.0%} are needed: the calibration is not kept. Try more photos, "
                "others, or photos with masks, which tell whether it matters"
            )


def measure(predict: Mapping[str, Predict], photos: Sequence[Photo], preset: Preset) -> Measurement:
    """Segment all photos in each precision; `predict` has at least "fp32" and "int8".

    Raises DataError for a bad file.
    """
    agreement = {}
    confusions: dict[str, list[torch.Tensor]] = {precision: [] for precision in predict}
    for photo in tqdm(photos, "measuring", leave=False, unit="photo"):
        data = photo.file.read_bytes()
        masks = {name: torch.from_numpy(run(data)).long() for name, run in predict.items()}
        same = masks[EXACT] == masks[INT8]
        agreement[photo.file.name] = float(same.float().mean())
        if photo.frame is not None:
            target = read_target(photo.frame, preset.num_classes).long()
            if target.shape != masks[EXACT].shape:
                raise DataError(f"{photo.frame.mask} has another size than its photo")
            for name, mask in masks.items():
                confusions[name].append(confusion_matrix(mask, target, preset.num_classes))
    return Measurement(
        agreement,
        {
            name: scores_of(torch.stack(matrices), preset.labels)
            for name, matrices in confusions.items()
            if matrices
        },
    )

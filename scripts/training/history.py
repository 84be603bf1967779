"""A run's validations as a table, `history.csv`: a row each, which spreadsheets and pandas read."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.training.metrics import Scores

HISTORY: Final = "history.csv"


@dataclass(frozen=True)
class Validation:
    """The average of the weights after a step."""

    step: int
    loss: float  # mean of the steps since the validation before
    learning_rate: float  # of the step
    scores: Scores


def append_row(folder: Path, validation: Validation) -> None:
    path = folder / HISTORY
    row = row_of(validation)
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def row_of(validation: Validation) -> dict[str, float | None]:
    """Columns by name. A class in neither targets nor masks has no IoU, and an empty field."""
    scores = validation.scores
    return {
        "step": validation.step,
        "loss": validation.loss,
        "learning_rate": validation.learning_rate,
        "mean_iou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        **{f"iou_{label}": iou for label, iou in scores.iou.items()},
    }


def read_rows(folder: Path) -> list[dict[str, float]]:
    """The rows of `folder`'s history; without one, none. Empty fields are left out."""
    path = folder / HISTORY
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: float(text) for name, text in row.items() if text}
            for row in csv.DictReader(file)
        ]


def best_mean_iou(rows: Sequence[dict[str, float]]) -> float:
    """The highest mean IoU, 0..1; 0 without rows."""
    return max((row["mean_iou"] for row in rows), default=0.0)


def drop_rows_after(folder: Path, step: int) -> None:
    """Drop the validations that a run resumed after `step` is going to repeat."""
    path = folder / HISTORY
    if not path.exists():
        return
    header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [row for row in rows if int(row.partition(",")[0]) <= step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join((header, *kept)), encoding="utf-8")
    os.replace(partial, path)

"""Scores for people and programs: lines and a table, or JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from scripts.training.dataset import Frame
from scripts.training.metrics import Scores, mean_iou_interval, scores_of


@dataclasses.dataclass(frozen=True)
class ScoresWithInterval(Scores):
    """Scores with the 95 % confidence interval of the mean IoU."""

    interval: tuple[float, float]


def scores_by_sequence(
    confusions: Tensor, frames: Sequence[Frame], labels: Sequence[str]
) -> dict[str, ScoresWithInterval]:
    """Scores of each sequence, sorted by name, from the frames' confusion matrices (F, C, C)."""
    rows: dict[str, list[int]] = {}
    for index, frame in enumerate(frames):
        rows.setdefault(frame.sequence, []).append(index)
    return {name: with_interval(confusions[rows[name]], labels) for name in sorted(rows)}


def with_interval(confusions: Tensor, labels: Sequence[str]) -> ScoresWithInterval:
    scores = dataclasses.asdict(scores_of(confusions, labels))
    return ScoresWithInterval(**scores, interval=mean_iou_interval(confusions))


def validation_line(step: int, loss: float, scores: Scores) -> str:
    classes = ", ".join(
        f"{label} {iou:.3f}" for label, iou in scores.iou.items() if iou is not None
    )
    return f"step {step}: loss {loss:.3f}, val mIoU {scores.mean_iou:.4f} ({classes})"


def json_text(scores: Scores, sequences: Mapping[str, Scores]) -> str:
    """A JSON object of the scores; of each sequence under `sequences`, if there are any."""
    document = dataclasses.asdict(scores)
    if sequences:
        document["sequences"] = {name: dataclasses.asdict(of) for name, of in sequences.items()}
    return json.dumps(document, indent=2)


def table(columns: Mapping[str, Scores]) -> str:
    """Scores in percent side by side, under their names if there are several."""
    scores = list(columns.values())
    labels = scores[0].iou
    width = max(map(len, (*labels, "pixel accuracy")))
    cell = max(6, *map(len, columns), *(len(frames_text(s)) for s in scores))

    def row(name: str, cells: Iterable[str]) -> str:
        return f"{name:<{width}}" + "".join(f"  {text:>{cell}}" for text in cells)

    rule = "-" * (width + (cell + 2) * len(columns))
    lines = [row("IoU, %", map(frames_text, scores)), rule]
    if len(columns) > 1:
        lines.insert(0, row("", columns))
    lines += [row(label, (percent(s.iou[label]) for s in scores)) for label in labels]
    lines += [rule, row("mean IoU", (percent(s.mean_iou) for s in scores))]
    intervals = [s.interval for s in scores if isinstance(s, ScoresWithInterval)]
    if intervals:
        lines.append(row("  95 % from", (percent(low) for low, _ in intervals)))
        lines.append(row("  95 % to", (percent(high) for _, high in intervals)))
    lines.append(row("pixel accuracy", (percent(s.pixel_accuracy) for s in scores)))
    return "\n".join(lines)


def frames_text(scores: Scores) -> str:
    return f"{scores.num_frames} frames"


def percent(share: float | None) -> str:
    return "absent" if share is None else f"{100 * share:.2f}"

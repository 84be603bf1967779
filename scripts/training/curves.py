"""A run's validations as pictures: `curves.png`, and TensorBoard's events where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from matplotlib.figure import Figure

from scripts.training.history import Validation

CURVES: Final = "curves.png"
EVENTS: Final = "tensorboard"


class EventWriter(Protocol):
    """The part of TensorBoard's `SummaryWriter` that is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def plot(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Write a PNG of 900x600 px from rows of the history: loss and learning rate above, IoU below.

    Classes keep their colour as long as the labels stay the same.
    """
    figure = Figure(figsize=(9, 6))
    losses, ious = figure.subplots(2, sharex=True, height_ratios=(2, 3))
    steps = [row["step"] for row in rows]
    losses.plot(steps, [row["loss"] for row in rows], marker=".", linewidth=1)
    losses.set(ylabel="loss", ylim=(0, None))
    rates = losses.twinx()
    rates.plot(steps, [row["learning_rate"] for row in rows], color="0.7", linewidth=1)
    rates.set(ylabel="learning rate", ylim=(0, None))

    labels = dict.fromkeys(name for row in rows for name in row if name.startswith("iou_"))
    for label in labels:
        of_label = [(row["step"], row[label]) for row in rows if label in row]
        ious.plot(*zip(*of_label), linewidth=1, alpha=0.6, label=label.removeprefix("iou_"))
    ious.plot(steps, [row["mean_iou"] for row in rows], "k.-", linewidth=2, label="mean")
    ious.set(ylabel="IoU on the validation frames", xlabel="step", ylim=(0, 1))
    ious.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def open_events(folder: Path, first_step: int) -> EventWriter | None:
    """TensorBoard's writer, which hides what it wrote after `first_step` before a run was resumed.

    None where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer: EventWriter = SummaryWriter(str(folder / EVENTS), purge_step=first_step + 1)
    return writer


def write_events(events: EventWriter, validation: Validation) -> None:
    step, scores = validation.step, validation.scores
    events.add_scalar("loss", validation.loss, step)
    events.add_scalar("learning rate", validation.learning_rate, step)
    events.add_scalar("mean IoU", scores.mean_iou, step)
    for label, iou in scores.iou.items():
        if iou is not None:
            events.add_scalar(f"IoU/{label}", iou, step)
    events.flush()

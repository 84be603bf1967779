"""What a run writes after each validation: a line, the history, curves, the best weights."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from tqdm import tqdm

from model.preset import Preset
from scripts.training.checkpoints import write_weights
from scripts.training.curves import CURVES, open_events, plot, write_events
from scripts.training.history import Validation, append_row, best_mean_iou, read_rows
from scripts.training.report import validation_line


class Records:
    """Keeps a run's records in the folder `output`, from `first_step` on."""

    def __init__(self, output: Path, preset: Preset, first_step: int) -> None:
        self.output = output
        self.best = best_weights(preset, output)
        self.events = open_events(output, first_step)

    def add(self, validation: Validation, net: nn.Module) -> None:
        """`net` has the weights that were validated."""
        tqdm.write(validation_line(validation.step, validation.loss, validation.scores))
        append_row(self.output, validation)
        *earlier, row = rows = read_rows(self.output)
        plot(rows, self.output / CURVES)
        if self.events:
            write_events(self.events, validation)
        if row["mean_iou"] > best_mean_iou(earlier) or not self.best.exists():
            write_weights(net, self.best)

    def close(self) -> None:
        if self.events:
            self.events.close()


def best_weights(preset: Preset, output: Path) -> Path:
    return output / f"{preset.name}-best.pth"

"""How far a run is: a bar on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from typing import Final

from tqdm import tqdm

SHOW_EVERY: Final = 50  # steps between losses on a terminal; each waits for the GPU
LINE_SECONDS: Final = 30.0  # between lines in a log


class Progress:
    """Shows the steps `first` to `total` of a run on stderr."""

    def __init__(self, first: int, total: int) -> None:
        self.first = first
        self.total = total
        self.bar = tqdm(  # disable=None: no bar where stderr is no terminal
            desc="training", total=total, initial=first, unit="step", disable=None
        )
        self.started = self.last_line = time.monotonic()

    def advance(self) -> None:
        self.bar.update()

    def is_due(self, step: int) -> bool:
        """Whether `show` is to be called after this step."""
        if self.bar.disable:
            return time.monotonic() - self.last_line >= LINE_SECONDS
        return step % SHOW_EVERY == 0

    def show(self, step: int, loss: float) -> None:
        """`loss` is the mean since the last validation."""
        if not self.bar.disable:
            self.bar.set_postfix(loss=f"{loss:.3f}")
            return
        self.last_line = time.monotonic()
        rate = (step - self.first) / (self.last_line - self.started)
        left = tqdm.format_interval((self.total - step) / rate)
        print(
            f"step {step} of {self.total}: loss {loss:.3f}, {rate:.2f} steps/s, {left} left",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        self.bar.close()

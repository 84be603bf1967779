"""Ctrl-C during training: the step under way is completed, and the run can be resumed after it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)  # SIGTERM is how clusters take a machine back


class Interrupted(Exception):
    """A signal stopped the run between two steps; its checkpoint is written."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__(f"stopped after step {step}; --resume continues from there")
        self.exit_status = 128 + number  # as shells count it


@contextmanager
def pending_signal() -> Iterator[Callable[[], int | None]]:
    """A function that gives the number of the signal that arrived in the block, or None.

    The first signal only sets it, the second ends the program as usual. Processes that are forked
    in the block, such as those that draw samples, ignore the first one, too, which a terminal sends
    to all of them.
    """
    received: int | None = None
    previous = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = number
        restore()

    for number in SIGNALS:
        signal.signal(number, receive)
    try:
        yield lambda: received
    finally:
        restore()

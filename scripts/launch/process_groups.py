"""Process groups: what a command started, all of it, also after the command has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

import psutil

STOP_SECONDS = 20.0
POLL_SECONDS = 0.1


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let Ctrl-C and its like take effect at the block's end.

    In the middle of starting a process they would leave one behind of which nobody knows.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    arrived: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)


def end_group(group: int) -> None:
    """SIGTERM to the group; SIGKILL to what is left after STOP_SECONDS, or at once on Ctrl-C."""
    try:
        signal_group(group, signal.SIGTERM)
        wait_until_empty(group)
    finally:
        if members(group):
            signal_group(group, signal.SIGKILL)
            wait_until_empty(group)


def signal_group(group: int, number: signal.Signals) -> None:
    # PermissionError: on macOS, where the group has only zombies left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def wait_until_empty(group: int) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while members(group) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def members(group: int) -> list[int]:
    """Process ids in the group, without zombies: in a container nobody may ever reap those."""
    pids = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                pids.append(process.pid)
    return pids

"""Process groups: all that a command started, even after the command has ended."""

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
    """Delay Ctrl-C, SIGTERM and SIGHUP until the `with` block ends.

    While a process is being started they would leave one behind that nobody knows of.
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
    """SIGTERM to the group; SIGKILL to the rest after STOP_SECONDS, or at once on Ctrl-C."""
    try:
        signal_group(group, signal.SIGTERM)
        wait_until_empty(group)
    finally:
        if members(group):
            signal_group(group, signal.SIGKILL)
            wait_until_empty(group)


def signal_group(group: int, number: signal.Signals) -> None:
    # PermissionError: on macOS, where only zombies are left of the group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def wait_until_empty(group: int) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while members(group) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def members(group: int) -> list[int]:
    """The ids of the group's processes, without zombies: a container may never reap those."""
    pids = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                pids.append(process.pid)
    return pids

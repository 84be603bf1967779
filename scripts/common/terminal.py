"""What all programs share: the checkout's folder, messages, and exit statuses."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class UserError(Exception):
    """A fault of the input or the environment; the program ends with this one line."""


def say(message: str) -> None:
    """Print to stderr, for progress and errors, so that a program's output can be piped."""
    print(message, file=sys.stderr, flush=True)


def shown(path: Path) -> str:
    """The path relative to the checkout if it is inside, else absolute."""
    path = path.absolute()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def exit_status(program: Callable[[], int], *faults: type[Exception]) -> int:
    """Run `program`; its exit status, or 1 after a UserError or one of `faults`, 130 after Ctrl-C.

    Such errors are printed as one line; any other exception is a bug and keeps its traceback.
    SIGTERM and a closed terminal unwind the program as Ctrl-C does.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # by nohup
            continue
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    expected: tuple[type[Exception], ...] = (UserError, *faults)
    try:
        return program()
    except expected as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def last_line(text: str) -> str:
    """The last line that another program printed: mostly the reason why it ended."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "without a message"

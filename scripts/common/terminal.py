"""What the programs here share: where they are, and how they speak to whoever called them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class UserError(Exception):
    """What stops a program and is not its fault; one line for whoever called it."""


def say(message: str) -> None:
    """Progress and errors go to stderr, so that a program's output can be piped."""
    print(message, file=sys.stderr, flush=True)


def shown(path: Path) -> str:
    """The path as one would type it in the checkout."""
    path = path.absolute()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def exit_status(program: Callable[[], int], *faults: type[Exception]) -> int:
    """That of `program`, or what a UserError, one of `faults` or Ctrl-C makes of it.

    Those are told in one line; another exception is a mistake of ours, and keeps its traceback.
    `kill` and a closed terminal end the program in order, as Ctrl-C does.
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
    """The last words of another program: mostly why it ended."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "without a word"

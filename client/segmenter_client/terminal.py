"""How the command line speaks to whoever called it."""

from __future__ import annotations

import sys


class UserError(Exception):
    """What stops the program and is not its fault; one line for whoever called it."""


def say(message: str) -> None:
    """Progress and errors go to stderr, so that a program's output can be piped."""
    print(message, file=sys.stderr, flush=True)

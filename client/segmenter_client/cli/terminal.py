"""How the command line speaks to its user."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


class UserError(Exception):
    """What stops the program without a fault of its own; one line for its user."""


def say(message: str) -> None:
    """Progress and errors go to stderr, so that a program's output can be piped."""
    print(message, file=sys.stderr, flush=True)


def tolerate_any_text() -> None:
    """Print what a console's encoding lacks, such as a label in a Windows code page, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(path: Path | str) -> str:
    """The path as text for any terminal, whatever bytes it contains."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")

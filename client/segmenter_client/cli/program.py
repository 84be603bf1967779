"""The console command: a subcommand by its name, else images to segment."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from segmenter_client.cli import check_command, merge_command, models_command, segment_command
from segmenter_client.cli.terminal import UserError, say, tolerate_any_text

INTERRUPTED: Final = 128 + signal.SIGINT

# A name here goes before a file's: that is ./check.
COMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "check": check_command.run,
    "merge": merge_command.run,
    "models": models_command.run,
}


def run() -> NoReturn:
    """`main`, and an exit that does not wait for the requests in flight of a stopped run."""
    tolerate_any_text()
    status = main()
    sys.stdout.flush()
    if threading.active_count() > 1:
        os._exit(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 not all of it, 2 invalid arguments, 130 stopped by Ctrl-C."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    command = COMMANDS.get(words[0]) if words else None
    try:
        return command(words[1:]) if command else segment_command.run(words)
    except UserError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED

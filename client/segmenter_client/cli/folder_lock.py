"""One run at a time writes to a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from segmenter_client.cli.terminal import UserError, printable


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock the folder, created if need be. The lock ends with this process, even if it is killed.

    Raises UserError if another process has it, or if the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot write to {printable(folder)}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another run is writing to {printable(folder)}") from None
    else:
        yield
    finally:
        os.close(descriptor)

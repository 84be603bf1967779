"""One run at a time writes to a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from segmenter_client.cli.terminal import UserError, printable

try:
    import fcntl
except ImportError:  # on Windows
    import msvcrt

    # Windows locks no folder, but a byte of a file in it.
    LOCK_FILE: Final = ".segmenter.lock"

    def _lock(folder: Path) -> int:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            os.close(descriptor)
            raise BlockingIOError from None
        return descriptor

else:

    def _lock(folder: Path) -> int:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock the folder, created if need be. The lock ends with this process, even if it is killed.

    Raises UserError if another process has it, or if the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(folder)
    except BlockingIOError:
        raise UserError(f"another run is writing to {printable(folder)}") from None
    except OSError as error:
        raise UserError(f"cannot write to {printable(folder)}: {error.strerror}") from error
    try:
        yield
    finally:
        os.close(descriptor)

"""The bytes of images: from files, addresses and stdin, never more than the service reads."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from segmenter_client.cli.remote import is_remote, read_remote


def read_image(name: str, max_bytes: int) -> bytes:
    """The image file at a path or address.

    Raises OSError, also for what is not a file, or more than `max_bytes`.
    """
    if is_remote(name):
        return read_remote(name, max_bytes)
    path = Path(name)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a file")
    if status.st_size > max_bytes:
        raise OSError(f"{status.st_size} bytes; the service reads at most {max_bytes}")
    return path.read_bytes()


def read_stdin(max_bytes: int) -> bytes:
    """An image file from stdin. Raises OSError for more than `max_bytes`."""
    image = sys.stdin.buffer.read(max_bytes + 1)
    if len(image) > max_bytes:
        raise OSError(f"over {max_bytes} bytes, more than the service reads")
    return image

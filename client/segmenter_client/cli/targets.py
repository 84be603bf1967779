"""Where an image's results go: its path or address, as a path below the output folder."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

# Characters. File systems allow 255 bytes; the results' suffixes follow.
MAX_SEGMENT = 100

# Windows allows these in no file name; two of them end a URL's path.
UNSAFE = re.compile(r'[<>:"\\|?*\x00-\x1f]')


def mirrored(name: str, folder: str | None = None) -> Path:
    """A local image's path, relative to the working directory if it is below that.

    Any other image was found in `folder`, and keeps its path from there, after the folder's own
    name; an image named alone keeps its path from the root.
    """
    path = Path(os.path.abspath(name))
    here = Path.cwd()
    if path.is_relative_to(here):
        return path.relative_to(here)
    if folder is not None:
        above = Path(os.path.abspath(folder)).parent
        return path.relative_to(above) if path.is_relative_to(above) else Path(path.name)
    return path.relative_to(path.anchor)


def mirrored_url(url: str) -> Path:
    """Host and path of an address, and its query, which may be what tells two images apart.

    No part of it leads out of the output folder.
    """
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    segments = [parts.netloc.rpartition("@")[2], *path.split("/")]
    return Path(*(_file_name(part) for part in segments if part.strip(". ")))


def _file_name(segment: str) -> str:
    """A segment as a file's name; a long one, such as a signature, by its start and its hash."""
    if len(segment) > MAX_SEGMENT:
        digest = hashlib.sha256(segment.encode("utf-8", "surrogateescape")).hexdigest()
        segment = f"{segment[:MAX_SEGMENT]}-{digest[:16]}"
    return UNSAFE.sub("_", segment)

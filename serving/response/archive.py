"""Several files as one ZIP archive, the same bytes for the same files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from typing import Final, NamedTuple

# ZIP's earliest: the time of writing would make every archive another one.
TIMESTAMP: Final = (1980, 1, 1, 0, 0, 0)

UNIX: Final = 3
READABLE: Final = 0o100644 << 16  # a regular file, -rw-r--r--

# zlib's fastest level: a mask as npy or RLE shrinks by far at any.
LEVEL: Final = 1


class Entry(NamedTuple):
    """A file in an archive."""

    name: str
    media_type: str
    content: bytes


def zip_archive(entries: Iterable[Entry]) -> bytes:
    """A ZIP archive of entries with different names; pictures, compressed already, are stored."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, TIMESTAMP)
            info.create_system = UNIX
            info.external_attr = READABLE
            is_picture = entry.media_type.startswith("image/")
            info.compress_type = zipfile.ZIP_STORED if is_picture else zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.content, compresslevel=LEVEL)
    return file.getvalue()

"""The images that files, folders and globs stand for, and where their results go."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segmenter_client.cli.terminal import UserError, printable
from segmenter_client.formats import FILE_SUFFIXES, IMAGE_EXTENSIONS

# Bytes of an image: max_request_size in the service's config.properties. With it, the number of
# requests in flight bounds the memory.
MAX_BYTES: Final = 48 << 20

RESULT_SUFFIXES: Final = tuple(FILE_SUFFIXES.values())


@dataclass(frozen=True)
class InputImage:
    """An image file, and the path of its results without their suffixes."""

    source: Path
    target: Path


def find_images(names: Iterable[str], output: Path, recursive: bool) -> list[InputImage]:
    """The images that `names` stand for, each once, with their targets in the folder `output`.

    In a folder, files named like results are not taken for images.

    A target mirrors the image's path from the working directory, or from the root if the image is
    not below that, and keeps its extension: x/a.jpg and y/a.jpg do not clash, nor a.jpg and a.png.
    It does not depend on the other names, so that another run finds it again. Raises UserError.
    """
    excluded = os.path.abspath(output)
    sources = {
        os.path.abspath(path): path for name in names for path in _expand(name, recursive, excluded)
    }
    images = [InputImage(path, output / _mirrored(absolute)) for absolute, path in sources.items()]
    sources_of: dict[Path, Path] = {}
    for image in images:
        other = sources_of.setdefault(image.target, image.source)
        if other is not image.source:
            raise UserError(
                f"{printable(other)} and {printable(image.source)} would both become "
                f"{printable(image.target)}; segment one of them into another folder"
            )
    return images


def read_list(source: str) -> list[str]:
    """The paths in a file, or on stdin for "-": one a line, in any encoding. Raises UserError."""
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {printable(source)}: {error.strerror}") from error
    return [os.fsdecode(line) for line in data.split(b"\n") if line]


def read_image(path: Path) -> bytes:
    """An image file's bytes. Raises OSError, also for what is not a file, or over MAX_BYTES."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a file")
    if status.st_size > MAX_BYTES:
        raise OSError(f"{status.st_size} bytes; a request holds at most {MAX_BYTES}")
    return path.read_bytes()


def read_stdin() -> bytes:
    """An image's bytes from stdin. Raises OSError for more than MAX_BYTES."""
    image = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(image) > MAX_BYTES:
        raise OSError(f"over {MAX_BYTES} bytes, more than a request holds")
    return image


def _expand(name: str, recursive: bool, excluded: str) -> Iterator[Path]:
    """A file that does not exist is kept: its failure is reported beside the others'."""
    if os.path.isdir(name):
        yield from _images_in(name, recursive, excluded)
    elif os.path.lexists(name) or not glob.has_magic(name):
        yield Path(name)
    else:
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise UserError(f"nothing matches {printable(name)}")
        for match in matches:
            if not os.path.isdir(match):
                yield Path(match)


def _images_in(folder: str, recursive: bool, excluded: str) -> Iterator[Path]:
    """Sorted by name, without the results of an earlier run and hidden files."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(
            child
            for child in folders
            if recursive
            and not child.startswith(".")
            and os.path.abspath(os.path.join(parent, child)) != excluded
        )
        for file in sorted(files):
            if _is_image(file):
                yield Path(parent, file)


def _is_image(file: str) -> bool:
    is_result = file.endswith(RESULT_SUFFIXES)
    is_hidden = file.startswith(".")
    return os.path.splitext(file)[1].lower() in IMAGE_EXTENSIONS and not is_result and not is_hidden


def _raise(error: OSError) -> None:
    raise UserError(f"cannot list {printable(error.filename)}: {error.strerror}")


def _mirrored(absolute: str) -> Path:
    path, here = Path(absolute), Path.cwd()
    return path.relative_to(here if path.is_relative_to(here) else path.anchor)

"""Which images are meant by files, folders and globs, and where what is found in them goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segmenter_client.terminal import UserError

# Of the formats that the service reads. In a folder only these are taken; a file that is named is
# sent whatever its name.
EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"))


@dataclass(frozen=True)
class Job:
    """An image and the path, without suffix, of what is made of it."""

    source: Path
    target: Path


def find_jobs(
    names: Iterable[str], folder: Path, recursive: bool, made: tuple[str, ...]
) -> list[Job]:
    """The images that `names` mean, each once, with their places in `folder`.

    In a folder, files that end in one of `made` are results, and no images to begin with.

    A place mirrors the image's path from here, or from the root where it is not below here, and
    keeps its extension: neither x/a.jpg and y/a.jpg meet, nor a.jpg and a.png. It does not depend
    on what else is asked for, so that another run finds it again. Raises UserError.
    """
    output = os.path.abspath(folder)
    sources = {
        os.path.abspath(path): path
        for name in names
        for path in _expand(name, recursive, output, made)
    }
    jobs = [Job(path, folder / _mirrored(absolute)) for absolute, path in sources.items()]
    taken: dict[Path, Path] = {}
    for job in jobs:
        other = taken.setdefault(job.target, job.source)
        if other is not job.source:
            raise UserError(
                f"{printable(other)} and {printable(job.source)} would both become "
                f"{printable(job.target)}; segment one of them into another folder"
            )
    return jobs


def printable(path: Path | str) -> str:
    """The path as text that any terminal takes, whatever bytes it has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _expand(name: str, recursive: bool, output: str, made: tuple[str, ...]) -> Iterator[Path]:
    """A name that means nothing is kept, for its failure to be reported beside the others'."""
    if os.path.isdir(name):
        yield from _images_in(name, recursive, output, made)
    elif os.path.lexists(name) or not glob.has_magic(name):
        yield Path(name)
    else:
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise UserError(f"nothing matches {printable(name)}")
        for match in matches:
            if not os.path.isdir(match):
                yield Path(match)


def _images_in(folder: str, recursive: bool, output: str, made: tuple[str, ...]) -> Iterator[Path]:
    """Sorted by name; not what an earlier run wrote, nor what is hidden."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(
            child
            for child in folders
            if recursive
            and not child.startswith(".")
            and os.path.abspath(os.path.join(parent, child)) != output
        )
        for file in sorted(files):
            extension = os.path.splitext(file)[1].lower()
            if extension in EXTENSIONS and not file.startswith(".") and not file.endswith(made):
                yield Path(parent, file)


def _raise(error: OSError) -> None:
    raise UserError(f"cannot list {printable(error.filename)}: {error.strerror}")


def _mirrored(absolute: str) -> Path:
    path, here = Path(absolute), Path.cwd()
    return path.relative_to(here if path.is_relative_to(here) else path.anchor)

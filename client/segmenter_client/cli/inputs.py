"""The images that files, folders, globs and addresses stand for, and where their results go."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segmenter_client.cli.remote import is_remote, list_remote
from segmenter_client.cli.targets import mirrored, mirrored_url
from segmenter_client.cli.terminal import UserError, printable
from segmenter_client.formats import FILE_SUFFIXES, IMAGE_EXTENSIONS

RESULT_SUFFIXES: Final = tuple(FILE_SUFFIXES.values())


@dataclass(frozen=True)
class InputImage:
    """An image by its path or address, and by its path below the folder of results."""

    name: str
    path: Path
    output: Path  # the folder of results

    @property
    def target(self) -> Path:
        """Its results' path without their suffixes."""
        return self.output / self.path


def find_images(names: Iterable[str], output: Path, recursive: bool) -> list[InputImage]:
    """The images that `names` stand for, each once, with their targets in the folder `output`.

    In a folder, files named like results are not taken for images.

    A target mirrors the image's path, and keeps its extension: x/a.jpg and y/a.jpg do not clash,
    nor a.jpg and a.png. It does not depend on the other names, so that another run finds it again.
    Raises UserError.
    """
    images: dict[str, InputImage] = {}
    names_of: dict[Path, str] = {}
    for name, path in _expand_all(names, recursive, os.path.abspath(output)):
        key = name if is_remote(name) else os.path.normcase(os.path.abspath(name))
        image = images.setdefault(key, InputImage(name, path, output))
        other = names_of.setdefault(image.target, image.name)
        if other != image.name:
            raise UserError(
                f"{printable(other)} and {printable(name)} would both become "
                f"{printable(image.target)}; segment one of them into another folder"
            )
    return list(images.values())


def _expand_all(names: Iterable[str], recursive: bool, excluded: str) -> Iterator[tuple[str, Path]]:
    """Images with their paths below the output folder."""
    for name in names:
        if is_remote(name):
            for url in list_remote(name, recursive, is_image):
                yield url, mirrored_url(url)
        else:
            yield from _expand(name, recursive, excluded)


def _expand(name: str, recursive: bool, excluded: str) -> Iterator[tuple[str, Path]]:
    """A file that does not exist is kept: its failure is reported beside the others'."""
    if os.path.isdir(name):
        for path in _images_in(name, recursive, excluded):
            yield path, mirrored(path, folder=name)
    elif os.path.lexists(name) or not glob.has_magic(name):
        yield name, mirrored(name)
    else:
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise UserError(f"nothing matches {printable(name)}")
        folder = os.path.dirname(re.split(r"[*?[]", name, maxsplit=1)[0])
        for match in matches:
            if not os.path.isdir(match):
                yield match, mirrored(match, folder=folder)


def _images_in(folder: str, recursive: bool, excluded: str) -> Iterator[str]:
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
            if is_image(file):
                yield os.path.join(parent, file)


def is_image(file: str) -> bool:
    """Whether a file in a folder is taken for an image, by its name."""
    is_result = file.endswith(RESULT_SUFFIXES)
    is_hidden = file.startswith(".")
    return os.path.splitext(file)[1].lower() in IMAGE_EXTENSIONS and not is_result and not is_hidden


def _raise(error: OSError) -> None:
    raise UserError(f"cannot list {printable(error.filename)}: {error.strerror}")

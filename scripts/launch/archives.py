"""Which archive an instance serves.

An instance keeps a copy of its archive in its own folder, under the model's name and the digest of
the file, and serves that copy whatever is built later. It keeps another one as soon as it has
predicted with it, or `make deploy` has put it in place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import yaml

from scripts.common.terminal import shown
from scripts.launch.instance import LaunchError

# In an instance's folder, the link to the archive that it keeps.
KEPT = "archive.mar"

# Hexadecimal digits of the file's SHA-256 in a copy's name: 48 bits, enough to tell builds apart.
DIGEST_DIGITS = 12


def check_whole(archive: Path) -> None:
    """Raise LaunchError where there is no archive, or where its checksums disagree with its bytes.

    TorchServe would say no more than that it could not read it.
    """
    if not archive.exists():
        raise LaunchError(f"the archive {shown(archive)} does not exist; `make archive` builds it")
    try:
        with zipfile.ZipFile(archive) as file:
            damaged = file.testzip() is not None
    except (zipfile.BadZipFile, OSError):
        damaged = True
    if damaged:
        raise LaunchError(f"the archive {shown(archive)} is damaged; remove it and build it again")


def model_name_in(archive: Path) -> str:
    """The name of the archive's preset, or the file's own without its suffix where it has none."""
    try:
        with zipfile.ZipFile(archive) as file:
            return str(yaml.safe_load(file.read("preset.yaml"))["name"])
    except KeyError:
        return archive.resolve().stem


def digest_of(archive: Path) -> str:
    """64 hexadecimal digits: the SHA-256 of the file."""
    digest = hashlib.sha256()  # not by model.digest, which takes the seconds of importing torch
    with archive.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def kept_archive(folder: Path) -> Path | None:
    """The archive that the instance in `folder` keeps; None before it has one."""
    link = folder / KEPT
    return folder / os.readlink(link) if link.is_symlink() else None


def check_unchanged(archive: Path) -> None:
    """Raise LaunchError where an instance's copy is not the file that its name says."""
    if not archive.exists():
        raise LaunchError(f"{shown(archive)} is missing; `make deploy` replaces it")
    if not digest_of(archive).startswith(archive.stem.rpartition("-")[2]):
        raise LaunchError(
            f"{shown(archive)} has another digest than its name says; `make deploy` replaces it"
        )


def copy_into(folder: Path, archive: Path) -> Path:
    """The archive's copy in `folder`, which `keep` takes; LaunchError where it is damaged."""
    check_whole(archive)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{os.getpid()}.part"
    try:
        shutil.copyfile(archive, partial)
        digest = digest_of(partial)[:DIGEST_DIGITS]  # of the copy: a build may replace the original
        copy = folder / f"{model_name_in(archive)}-{digest}.mar"
        partial.replace(copy)
    finally:
        partial.unlink(missing_ok=True)
    return copy


def keep(archive: Path) -> None:
    """Have the instance in whose folder this copy is serve it from now on; remove the others.

    Raises LaunchError where the copy is gone: another one was kept in the meantime.
    """
    if not archive.exists():
        raise LaunchError(f"{shown(archive)} has been replaced by another archive; start again")
    folder = archive.parent
    link = folder / f"{KEPT}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(archive.name)
    os.replace(link, folder / KEPT)
    for other in folder.glob("*.mar"):
        if other not in (archive, folder / KEPT):
            other.unlink()

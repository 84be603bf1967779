"""The archive on a node: unpacked once by its digest, and its code imported from there.

A replica serves what is in the archive, as TorchServe's worker does: the packages imaging, model
and serving are the archive's own, whatever else is on this node's path. So nothing of them may be
imported before `import_from`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

PACKAGES = ("imaging", "model", "serving")

# TorchServe's, for keys that model-config.yaml leaves out.
BATCH_SIZE = 1
BATCH_DELAY_MS = 100
RESPONSE_TIMEOUT_S = 120


class ClusterArchiveError(Exception):
    """The archive cannot be served from this node; one line that says why, and what to do."""


@dataclass(frozen=True)
class UnpackedArchive:
    """The folder of an archive, its version, and its settings in TorchServe's terms."""

    folder: Path
    version: str
    config: Mapping[str, object]

    @property
    def precision(self) -> str:
        return str(self.config.get("precision", "auto"))

    @property
    def batch_size(self) -> int:
        return self._number("batchSize", BATCH_SIZE)

    @property
    def batch_seconds(self) -> float:
        """How long the first request of a batch waits for others."""
        return self._number("maxBatchDelay", BATCH_DELAY_MS) / 1e3

    @property
    def response_seconds(self) -> int:
        """How long a batch may take."""
        return self._number("responseTimeout", RESPONSE_TIMEOUT_S)

    def _number(self, key: str, default: int) -> int:
        value = self.config.get(key, default)
        if not isinstance(value, int) or value < 0:
            raise ClusterArchiveError(f"{key} in model-config.yaml is {value!r}, not a number")
        return value


def digest_of(archive: Path) -> str:
    """64 hexadecimal digits: the SHA-256 of the file. Raises ClusterArchiveError without one."""
    digest = hashlib.sha256()
    try:
        with archive.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise ClusterArchiveError(
            f"the archive {archive} cannot be read on this node ({error.strerror}): "
            "copy it to the same path on every node"
        ) from error
    return digest.hexdigest()


def unpack(archive: Path, digest: str, store: Path) -> UnpackedArchive:
    """The archive with that digest, in the folder of that name in `store`.

    Processes that unpack it at the same time get the same folder, which is never there in part.
    Raises ClusterArchiveError where the file has another digest or is damaged.
    """
    folder = store / digest
    if not folder.is_dir():
        found = digest_of(archive)
        if found != digest:
            raise ClusterArchiveError(
                f"{archive} on this node has the digest {found[:12]}..., and {digest[:12]}... is "
                "deployed: copy the deployed archive to every node"
            )
        store.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=store, prefix=f"{digest[:12]}."))
        try:
            extract(archive, partial)
            os.rename(partial, folder)
        except OSError:  # another process was first
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return read_settings(folder)


def extract(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
    except zipfile.BadZipFile as error:
        raise ClusterArchiveError(f"{archive} is damaged ({error}); build it again") from error


def read_settings(folder: Path) -> UnpackedArchive:
    """Version and settings, which the archiver's manifest leads to."""
    try:
        manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text("utf-8"))["model"]
        config = yaml.safe_load((folder / manifest["configFile"]).read_text("utf-8"))
        return UnpackedArchive(folder, str(manifest["modelVersion"]), dict(config or {}))
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ClusterArchiveError(
            f"{folder} is no archive of this project ({type(error).__name__}: {error})"
        ) from error


def import_from(folder: Path) -> None:
    """Have this process import the packages from an unpacked archive, before any other place.

    Raises ClusterArchiveError where one of them has been imported from elsewhere already.
    """
    for name in PACKAGES:
        origin = getattr(sys.modules.get(name), "__file__", None)
        if origin is not None and not Path(origin).is_relative_to(folder):
            raise ClusterArchiveError(f"{name} has been imported from {origin} already")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

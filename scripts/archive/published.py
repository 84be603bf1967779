"""The weights that a preset names: a file beside it, or one that is downloaded once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch

from model.digest import sha256_of
from model.preset import WeightsSource
from scripts.archive.checkpoint_file import CheckpointError


def published_weights(source: WeightsSource) -> Path:
    """The file with a preset's weights, its SHA-256 checked; downloaded once if it has a URL.

    Downloads go to torch.hub's own folder ($TORCH_HOME/hub/checkpoints), so that a file that
    torchvision has downloaded is not downloaded again. Raises CheckpointError.
    """
    if source.file is not None:
        path = Path(source.file)
        if not path.is_file():
            raise CheckpointError(f"{path}, the preset's weights, is missing")
    else:
        assert source.url is not None
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(source.url).path).name
        if not path.is_file():
            download(source.url, path, source.sha256)
    check_sha256(path, source.sha256)
    return path


def download(url: str, path: Path, sha256: str) -> None:
    """Download a file, with a progress bar; it gets its name when it is complete and checked."""
    print(f"downloading {url}", file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        torch.hub.download_url_to_file(url, str(partial), progress=sys.stderr.isatty())
        check_sha256(partial, sha256)
        os.replace(partial, path)
    except (URLError, OSError) as error:
        raise CheckpointError(
            f"{url} cannot be downloaded. Download it on another machine, and copy it to {path}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def check_sha256(path: Path, expected: str) -> None:
    """Raise CheckpointError unless the file's SHA-256 begins with `expected` (8 to 64 digits)."""
    digest = sha256_of(path)
    if not digest.startswith(expected):
        raise CheckpointError(
            f"{path} is damaged or another file: its SHA-256 begins with "
            f"{digest[: len(expected)]}, not {expected}. Delete it and download it again"
        )

"""The served archive's network in this process, which gives the expected masks."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import torch

from scripts.common.terminal import UserError, shown
from serving.runtime.loading import ServedModel, load_model


def reference_model(archive: Path) -> ServedModel:
    """The archive's network on the CPU. Raises UserError where there is no archive."""
    if not zipfile.is_zipfile(archive):
        raise UserError(f"there is no archive {shown(archive)}; `make archive` builds it")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        return load_model(Path(folder), torch.device("cpu"))

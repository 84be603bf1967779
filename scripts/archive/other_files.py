"""Files that people take for checkpoints, and what to do with them instead."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Final, NamedTuple

START_BYTES: Final = 64  # enough to tell the formats apart


class Kind(NamedTuple):
    """A kind of file, by a pattern of its first bytes, or of an entry's name in a zip file."""

    pattern: str
    meaning: str  # what it is, and what to do


BY_START: Final = (
    Kind(
        r"\s*<|version https://git-lfs",
        "a web page or a Git LFS pointer, not weights; download the file itself",
    ),
    Kind(
        r"\x89HDF",
        "an HDF5 file (Keras), not one of PyTorch; save the weights from PyTorch",
    ),
)

BY_ENTRY: Final = (
    Kind(
        r"[^/]+/(code/.*|constants\.pkl)",
        "a TorchScript model, which holds code, not only weights. Where it was made: "
        "torch.save(torch.jit.load('model.pt').state_dict(), 'weights.pth')",
    ),
    Kind(
        r"[^/]+/models/model\.json|serialized_exported_program\.json",
        "a model exported by torch.export, which holds code, not only weights. Where it was made: "
        "torch.save(torch.export.load('model.pt2').state_dict, 'weights.pth')",
    ),
    Kind(
        r"MAR-INF/MANIFEST\.json",
        "an archive for TorchServe, not a checkpoint. To serve it: "
        "python -m scripts.service start --archive FILE",
    ),
)


def other_kind(path: Path) -> str | None:
    """What a file is that is known to hold no state dict; None for any other."""
    with path.open("rb") as file:
        start = file.read(START_BYTES).decode("latin-1")
    for kind in BY_START:
        if re.match(kind.pattern, start):
            return kind.meaning
    names = entries(path)
    for kind in BY_ENTRY:
        if any(re.fullmatch(kind.pattern, name) for name in names):
            return kind.meaning
    return None


def entries(path: Path) -> list[str]:
    """The names in a zip file; none of another or a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return []

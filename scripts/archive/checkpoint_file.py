"""A checkpoint's file, read without running any code in it, whoever made it."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

# Plain data that a file may hold beside tensors: torchvision's reference scripts save the arguments
# of their command line.
ALLOWED_CLASSES: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    argparse.Namespace
]

# Before this version `torch.load` was not safe with weights_only=True, either.
SAFE_TORCH = "2.10"

START_BYTES = 64  # enough to tell the formats apart

# The entry, "/"-separated below the archive's own folder, by which a zip file is known for
# something else than a state dict, and what to do with it.
OTHER_ZIP_FILES = (
    (
        r"[^/]+/(code/.*|constants\.pkl)",
        "a TorchScript model, which holds code, not only weights. Where it was made: "
        "torch.save(torch.jit.load('model.pt').state_dict(), 'weights.pth')",
    ),
    (
        r"[^/]+/models/model\.json|serialized_exported_program\.json",
        "a model exported by torch.export, which holds code, not only weights. Where it was made: "
        "torch.save(torch.export.load('model.pt2').state_dict, 'weights.pth')",
    ),
    (
        r"MAR-INF/MANIFEST\.json",
        "an archive for TorchServe, not a checkpoint. To serve it: python -m scripts.service start "
        "--archive FILE",
    ),
)

OTHER_FILES = (
    (rb"\s*<|version https://git-lfs", "a web page or a Git LFS pointer, not weights; download the "
     "file itself"),
    (rb"\x89HDF", "an HDF5 file (Keras), not one of PyTorch; save the weights from PyTorch"),
)  # fmt: skip


class CheckpointError(Exception):
    """A file without usable weights, or with the weights of another network."""


def read_file(path: Path, *, verified: bool = False) -> object:
    """What a safetensors file holds, or one that `torch.save` wrote, told apart by their content.

    A file is `verified` if its SHA-256 was compared with one from elsewhere. Raises
    CheckpointError; the message says what the file is and what to do.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    if path.suffix == ".safetensors" or is_safetensors(start):
        return read_safetensors(path)
    for pattern, what in OTHER_FILES:
        if re.match(pattern, start):
            raise CheckpointError(f"{path} is {what}")
    if zipfile.is_zipfile(path):
        refuse_other_zip_files(path)
    if not verified:
        refuse_unsafe_torch(path)
    return read_torch(path)


def is_safetensors(start: bytes) -> bool:
    """Eight bytes with the length of a JSON object, then that object.

    https://github.com/huggingface/safetensors#format
    """
    return start[8:10] in (b'{"', b"{ ", b"{}") and int.from_bytes(start[:8], "little") < 100 << 20


def read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error


def refuse_other_zip_files(path: Path) -> None:
    """Raise CheckpointError for a zip file that is known not to hold a state dict."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    for pattern, what in OTHER_ZIP_FILES:
        if any(re.fullmatch(pattern, name) for name in names):
            raise CheckpointError(f"{path} is {what}")


def refuse_unsafe_torch(path: Path) -> None:
    """Raise CheckpointError where this PyTorch cannot read somebody else's pickle safely."""
    if torch.__version__ < SAFE_TORCH:
        raise CheckpointError(
            f"{path} is not read by PyTorch {torch.__version__}: before 2.6 such a file can run "
            "code (CVE-2025-32434), before 2.10 corrupt memory (CVE-2026-24747), even with "
            "weights_only=True. Install PyTorch 2.10 or later; or save the weights as "
            ".safetensors where they were made; or name the file and its SHA-256 in a preset"
        )


def read_torch(path: Path) -> object:
    try:
        # Published weights need no other class, and PyTorch 2.4 reads nothing else.
        if torch.__version__ < SAFE_TORCH:
            return torch.load(path, map_location="cpu", weights_only=True)
        with torch.serialization.safe_globals(ALLOWED_CLASSES):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a plain state dict: it names {code_in(path)}, and loading it would run "
            "code, which is refused. Where it was made, save the weights alone: "
            "torch.save(net.state_dict(), 'weights.pth'); of a training checkpoint, its entry "
            "'state_dict' or 'model'"
        ) from error
    except Exception as error:  # on a damaged file the unpickler raises almost anything
        raise CheckpointError(
            f"{path} is not a valid PyTorch checkpoint; it may be incomplete"
        ) from error


def code_in(path: Path) -> str:
    """The classes and functions that a file names and that are not allowed, for a message."""
    try:
        with torch.serialization.safe_globals(ALLOWED_CLASSES):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # only a zip file can be searched, and a damaged one raises almost anything
        names = []
    return shorten(sorted(names)) if names else "classes or functions"


NAMED = 4  # names that a message lists before it counts the rest


def shorten(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")

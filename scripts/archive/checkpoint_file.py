"""A checkpoint's file, read without running any code in it, whoever made it."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.torch_version import TorchVersion

from scripts.archive.other_files import other_kind

# Plain data that a file may hold beside tensors: torchvision's reference scripts save the arguments
# of their command line.
ALLOWED_CLASSES: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    argparse.Namespace
]

# Before this version `torch.load` was not safe with weights_only=True, either.
SAFE_TORCH = "2.10"


class CheckpointError(Exception):
    """A file without usable weights, or with the weights of another network."""


def read_file(path: Path, *, verified: bool = False) -> object:
    """What a safetensors file holds, or one that `torch.save` wrote, told apart by their content.

    A file is `verified` if its SHA-256 was compared with one from elsewhere. Raises
    CheckpointError; the message says what the file is and what to do.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")
    if path.suffix == ".safetensors" or is_safetensors(path):
        return read_safetensors(path)
    other = other_kind(path)
    if other is not None:
        raise CheckpointError(f"{path} is {other}")
    if not verified:
        refuse_unsafe_torch(path)
    return read_torch(path)


def is_safetensors(path: Path) -> bool:
    """Eight bytes with the length of a JSON object, then that object.

    https://github.com/huggingface/safetensors#format
    """
    with path.open("rb") as file:
        length, start = int.from_bytes(file.read(8), "little"), file.read(1)
    return start == b"{" and length < path.stat().st_size


def read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error


def refuse_unsafe_torch(path: Path) -> None:
    """Raise CheckpointError where this PyTorch cannot read somebody else's pickle safely."""
    if not reads_pickles_safely():
        raise CheckpointError(
            f"{path} is not read by PyTorch {torch.__version__}: before 2.6 such a file can run "
            "code (CVE-2025-32434), before 2.10 corrupt memory (CVE-2026-24747), even with "
            "weights_only=True. Install PyTorch 2.10 or later; or save the weights as "
            ".safetensors where they were made; or name the file and its SHA-256 in a preset"
        )


def reads_pickles_safely() -> bool:
    return TorchVersion(torch.__version__) >= SAFE_TORCH


def read_torch(path: Path) -> object:
    try:
        # Published weights need no other class, and PyTorch 2.4 reads nothing else.
        if not reads_pickles_safely():
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

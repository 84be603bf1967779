"""The files of a run: the checkpoint to resume it from, and weights to serve."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import torch
from torch import nn

CHECKPOINT: Final = "last.pth"


def save(state: object, path: Path) -> None:
    """Write a checkpoint. If that fails, the previous one stays as it is."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def write_weights(net: nn.Module, path: Path) -> None:
    """Write the weights in half precision.

    An auxiliary head is left out: only training uses it.
    """
    halves = {
        name: value.half() if value.is_floating_point() else value
        for name, value in net.state_dict().items()
        if not name.startswith("aux_classifier.")
    }
    save({name: value.cpu() for name, value in halves.items()}, path)


def preset_lines(weights: Path) -> str:
    """The lines that name weights in a preset."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return f"weights:\n  file: {weights.name}\n  sha256: {digest}"

"""The files of a run: the checkpoint to resume it from, its history, and the weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Final

import torch
from torch import nn

from scripts.training.metrics import Scores

CHECKPOINT: Final = "last.pth"
HISTORY: Final = "history.jsonl"


def save(state: object, path: Path) -> None:
    """Write a checkpoint. If that fails, the previous one stays as it is."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def append_history(folder: Path, *, step: int, loss: float, scores: Scores) -> None:
    """Add a line of JSON for a validation."""
    entry = {"step": step, "loss": loss, **dataclasses.asdict(scores)}
    with (folder / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def write_weights(net: nn.Module, path: Path) -> None:
    """Write the weights in half precision, and print the lines that name them in a preset.

    An auxiliary head is left out: only training uses it.
    """
    halves = {
        name: value.half() if value.is_floating_point() else value
        for name, value in net.state_dict().items()
        if not name.startswith("aux_classifier.")
    }
    save({name: value.cpu() for name, value in halves.items()}, path)
    data = path.read_bytes()
    print(f"{path}: {len(data) / 1e6:.1f} MB. For the preset:")
    print(f"weights:\n  file: {path.name}\n  sha256: {hashlib.sha256(data).hexdigest()}")

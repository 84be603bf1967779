"""What a run leaves: the checkpoint that it can go on from, its history, and the weights."""

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
    """Write a checkpoint, or leave the one before as it is."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def append_history(folder: Path, *, step: int, seconds: float, loss: float, scores: Scores) -> None:
    """One line of JSON for a validation."""
    entry = {"step": step, "seconds": round(seconds, 1), "loss": loss, **dataclasses.asdict(scores)}
    with (folder / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def write_weights(net: nn.Module, path: Path) -> None:
    """Write the weights in half precision, and print what a preset says of them.

    An auxiliary head is left out: it only helps training.
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

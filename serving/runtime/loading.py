"""From an unpacked archive to a network that is ready to serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from model.calibration_file import CalibrationError, read_calibration
from model.digest import sha256_of
from model.optimize.inference import optimize_for_pixels
from model.optimize.precision import choose_precision
from model.preset import Preset, PresetError, build_network, load_preset

# The archive's resolved preset: it names the weights file and the digest that file must have.
PRESET_FILE = "preset.yaml"

# Ranges of the maps of an int8 network, where the weights have been calibrated.
CALIBRATION_FILE = "calibration.json"

# The head's last layer: it has one output for each class.
CLASSES_KEY = "classifier.4.weight"


class ArchiveError(Exception):
    """The archive does not hold what its preset says; the worker must not go into service.

    The text is one line: the last line of the worker's log, which `make start` prints.
    """


@dataclass(frozen=True)
class ServedModel:
    """A loaded archive: the network on its device, and what describes it."""

    net: nn.Module  # uint8 (B, 3, H, W) RGB pixels -> logits (B, num_classes, h, w) in fp32
    device: torch.device
    preset: Preset
    digest: str  # "sha256:<64 hex digits>" of the weights file
    precision: str  # what the network computes in: "fp32", "bf16", "fp16" or "int8"


def load_model(folder: Path, device: torch.device, precision: str = "auto") -> ServedModel:
    """Build the network of the archive unpacked in `folder` and load its weights, checked.

    `precision` is as of model.optimize_for_inference. Raises ArchiveError where preset, weights or
    calibration are missing or altered, or do not fit each other.
    """
    preset = read_preset(folder / PRESET_FILE)
    if preset.weights is None or preset.weights.file is None:
        raise ArchiveError(f"{PRESET_FILE} names no weights file; build the archive again")
    path = Path(preset.weights.file)  # resolved against the preset's own folder
    verify_sha256(path, preset.weights.sha256)
    net = build_network(preset)
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if CLASSES_KEY in state and len(state[CLASSES_KEY]) != preset.num_classes:
        raise ArchiveError(
            f"{PRESET_FILE} has {preset.num_classes} labels, and {path.name} is for "
            f"{len(state[CLASSES_KEY])} classes; build the archive again"
        )
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ArchiveError(
            f"{path.name} does not fit preset {preset.name}: {one_line(error)}"
        ) from error
    calibration = own_calibration(folder, preset, preset.weights.sha256)
    try:
        precision = choose_precision(precision, device, calibration is not None)
        fast = optimize_for_pixels(net, preset.mean, preset.std, device, precision, calibration)
    except ValueError as error:
        raise ArchiveError(one_line(error)) from error
    return ServedModel(fast, device, preset, f"sha256:{preset.weights.sha256}", precision)


def read_preset(path: Path) -> Preset:
    if not path.is_file():
        raise ArchiveError(f"{path.name} is missing from the archive; build the archive again")
    try:
        return load_preset(path)
    except PresetError as error:
        raise ArchiveError(f"{one_line(error)}; build the archive again") from error


def own_calibration(folder: Path, preset: Preset, weights: str) -> dict[str, float] | None:
    """The calibration in the archive, which must be of the preset with the weights of that SHA-256.

    None if there is none.
    """
    path = folder / CALIBRATION_FILE
    if not path.exists():
        return None
    try:
        stored = read_calibration(path)
    except CalibrationError as error:
        raise ArchiveError(f"{path.name} is damaged; build the archive again") from error
    misfit = stored.misfit(preset, weights)
    if misfit:
        raise ArchiveError(f"{path.name} is of {misfit}; build the archive again")
    return stored.ranges


def verify_sha256(path: Path, expected: str) -> None:
    """Raise ArchiveError unless the file exists and its SHA-256 is `expected` (64 hex digits)."""
    if not path.is_file():
        raise ArchiveError(f"{path.name} is missing from the archive; build the archive again")
    digest = sha256_of(path)
    if digest != expected:
        raise ArchiveError(
            f"{path.name} is damaged: its SHA-256 is {digest}, the archive was built "
            f"with {expected}; build the archive again"
        )


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())

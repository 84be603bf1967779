"""Checkpoints: read safely, put under torchvision's names, and loaded, or why one does not fit.

Used when an archive is built or a network is trained; the archive itself holds a plain state dict.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from model.preset import Preset, build_network
from model.segmenter import Segmenter
from model.variant import dilate_as
from scripts.archive.checkpoint_file import CheckpointError, read_file, shorten
from scripts.archive.key_names import find_state, to_torchvision
from scripts.archive.other_projects import Weights
from scripts.archive.recognition import AUX_PREFIX, describe

__all__ = [
    "CheckpointError",
    "load_checkpoint",
    "read_checkpoint",
    "read_weights",
    "trained_network",
]


def trained_network(
    preset: Preset, path: Path, *, verified: bool = False
) -> tuple[Preset, Segmenter]:
    """The preset with the variant of the weights in a file, and its network with them.

    A file is `verified` if its SHA-256 was compared with the preset's. Raises CheckpointError.
    """
    weights = read_weights(path, verified=verified)
    if weights.variant is not None:
        preset = replace(preset, variant=weights.variant)
    net = build_network(preset)
    load_weights(net, weights, path)
    return preset, net


def load_checkpoint(net: Segmenter, path: Path) -> None:
    """Load all of `net`'s weights from a file; CheckpointError says how the two differ.

    Only an auxiliary head that the network does not have may be left over in the file. Another
    project's file gives the network that project's dilation, too.
    """
    load_weights(net, read_weights(path), path)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, under torchvision's names. Raises CheckpointError."""
    return read_weights(path).state


def read_weights(path: Path, *, verified: bool = False) -> Weights:
    """The state dict in a safetensors file or one that `torch.save` wrote. No pickle runs."""
    path = Path(path)
    content = read_file(path, verified=verified)
    try:
        return to_torchvision(find_state(content))
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from None


def load_weights(net: Segmenter, weights: Weights, path: Path) -> None:
    """As load_checkpoint; `path` is for messages."""
    ours = net.state_dict()
    theirs = dict(weights.state)
    if not any(name.startswith(AUX_PREFIX) for name in ours):
        theirs = {name: v for name, v in theirs.items() if not name.startswith(AUX_PREFIX)}
    for name in ours.keys() - theirs.keys():
        # torch < 0.4.1 did not save it, and eval mode does not use it.
        if name.endswith(".num_batches_tracked"):
            theirs[name] = ours[name]
    refuse_misfit(ours, theirs, path)
    for name, value in theirs.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; the training diverged")
    net.load_state_dict(theirs, strict=True)
    if weights.variant is not None:
        dilate_as(weights.variant.implementation, net.backbone)


def refuse_misfit(ours: dict[str, Tensor], theirs: dict[str, Tensor], path: Path) -> None:
    """Raise CheckpointError unless both have the same keys and shapes."""
    missing = [name for name in ours if name not in theirs]
    unexpected = [name for name in theirs if name not in ours]
    misshapen = [
        f"{name} {tuple(theirs[name].shape)} instead of {tuple(value.shape)}"
        for name, value in ours.items()
        if name in theirs and theirs[name].shape != value.shape
    ]
    if missing or unexpected or misshapen:
        kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
        lists = "; ".join(f"{kind}: {shorten(keys)}" for kind, keys in kinds.items() if keys)
        raise CheckpointError(
            f"{path} does not fit. It looks like {describe(theirs)}; "
            f"the network is {describe(ours)}. Its keys: {lists}"
        )

"""Checkpoints: download them, read them safely, and say why one does not fit a network.

Used when an archive is built or a network is trained; the archive itself holds a plain state dict.
"""

from __future__ import annotations

import os
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from model.digest import sha256_of
from model.preset import WeightsSource

# Keys under which training loops save a state dict. An averaged model precedes the plain one, as it
# is the one that is evaluated: torchvision's references save "model_ema" beside "model".
WRAPPERS = ("model_ema", "model", "state_dict", "model_state_dict")

# Prefixes that wrappers add to every name: DistributedDataParallel and AveragedModel,
# torch.compile, Lightning modules.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")

# Buffers of wrappers that a network does not have.
NOT_PARAMETERS = ("n_averaged",)

AUX_PREFIX = "aux_classifier."
NAMED_KEYS = 4  # keys of each kind that a message lists before it counts the rest

# Bottleneck backbones by the number of blocks in layer3 and the width of layer1's 3x3 convolution:
# (input channels per group, output channels).
BOTTLENECKS = {
    (6, 64, 64): "resnet50",
    (23, 64, 64): "resnet101",
    (36, 64, 64): "resnet152",
    (6, 4, 128): "resnext50_32x4d",
    (23, 8, 256): "resnext101_32x8d",
    (6, 128, 128): "wide_resnet50_2",
}
BASIC = {2: "resnet18", 6: "resnet34"}  # by the number of blocks in layer3


class CheckpointError(Exception):
    """A file without usable weights, or with the weights of another network."""


def load_checkpoint(net: nn.Module, path: Path) -> None:
    """Load all of `net`'s weights from the file; CheckpointError says how the two differ.

    Only an auxiliary head that the network does not have may be left over in the file.
    """
    ours = net.state_dict()
    theirs = read_checkpoint(path)
    if not any(name.startswith(AUX_PREFIX) for name in ours):
        theirs = {name: v for name, v in theirs.items() if not name.startswith(AUX_PREFIX)}
    for name in ours.keys() - theirs.keys():
        if name.endswith(
            ".num_batches_tracked"
        ):  # torch < 0.4.1 did not save it, and eval mode does not use it
            theirs[name] = ours[name]

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
    for name, value in theirs.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; the training diverged")
    net.load_state_dict(theirs, strict=True)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.safetensors` file or one that `torch.save` wrote, under plain names.

    No pickle runs: torch.load has weights_only=True. Raises CheckpointError.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")
    content = read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, not a state dict; "
            "save it with torch.save(net.state_dict(), path)"
        )
    state = {
        str(name): value
        for name, value in content.items()
        if isinstance(value, Tensor) and name not in NOT_PARAMETERS
    }
    if not state:
        raise CheckpointError(
            f"{path} holds no tensors, but {shorten([str(name) for name in content])}; "
            "a state dict was expected"
        )
    return without_prefix(state)


def read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error


def read_torch(path: Path) -> object:
    with path.open("rb") as file:
        start = file.read(64)
    if re.match(rb"\s*<|version https://git-lfs", start):
        raise CheckpointError(
            f"{path} is a web page or a Git LFS pointer, not weights; download the file itself"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a plain state dict: loading it would run code, which is refused. "
            "Where it was made, save it with torch.save(net.state_dict(), path)"
        ) from error
    except Exception as error:  # on a damaged file the unpickler raises almost anything
        raise CheckpointError(
            f"{path} is not a valid PyTorch checkpoint; it may be incomplete"
        ) from error


def without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, without the prefixes of wrappers in their names."""
    for _ in PREFIXES:
        for prefix in PREFIXES:
            if all(name.startswith(prefix) for name in state):
                state = {name[len(prefix) :]: value for name, value in state.items()}
    return state


def describe(state: Mapping[str, Tensor]) -> str:
    """The network that a state dict belongs to, guessed from its keys and shapes."""
    head = state.get("classifier.4.weight")
    classes = "an unknown number of" if head is None else len(head)
    aux = "an" if any(name.startswith(AUX_PREFIX) for name in state) else "no"
    return f"{backbone_of(state)} with {classes} classes and {aux} auxiliary head"


def backbone_of(state: Mapping[str, Tensor]) -> str:
    """torchvision's name of the backbone, with its last stage unless that is layer4."""
    conv = state.get("backbone.layer1.0.conv2.weight")
    blocks = {
        int(match[1]) for name in state if (match := re.match(r"backbone\.layer3\.(\d+)\.", name))
    }
    if conv is None or not blocks:
        return "no segmenter with torchvision's key names (backbone.*, classifier.*)"
    if "backbone.layer1.0.conv3.weight" in state:
        found = BOTTLENECKS.get((len(blocks), conv.shape[1], conv.shape[0]))
    else:
        found = BASIC.get(len(blocks))
    stage = "" if any(name.startswith("backbone.layer4.") for name in state) else " up to layer3"
    return (found or "an unknown ResNet") + stage


def shorten(names: list[str]) -> str:
    rest = len(names) - NAMED_KEYS
    return ", ".join(names[:NAMED_KEYS]) + (f" and {rest} more" if rest > 0 else "")


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

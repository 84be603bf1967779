"""The state dict in what a training loop saved, under the network's own names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from scripts.archive.checkpoint_file import CheckpointError, shorten
from scripts.archive.other_projects import State, Weights, from_mmseg, from_smp

# Keys under which training loops save a state dict. An averaged model precedes the plain one, as it
# is the one that is evaluated: torchvision's references save "model_ema" beside "model".
WRAPPERS = ("model_ema", "ema_state_dict", "model", "state_dict", "model_state_dict")

# How deep they lie in one another; a crafted file may hold itself.
MAX_DEPTH = 3

# torch.compile's, anywhere in a name.
COMPILED = "_orig_mod."

# Every network that is read has exactly one of these keys, whatever the prefix (a Lightning module,
# DistributedDataParallel and AveragedModel add one).
FIRST_KEYS = ("backbone.conv1.weight", "backbone.stem.0.weight", "encoder.conv1.weight")


def find_state(content: object) -> State:
    """The tensors of a state dict, taken out of what a training loop saved it in."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"holds a {type(content).__name__}, not a state dict; "
            "save it with torch.save(net.state_dict(), path)"
        )
    for _ in range(MAX_DEPTH):
        inner = (content[wrapper] for wrapper in WRAPPERS if wrapper in content)
        content = next((entry for entry in inner if isinstance(entry, Mapping)), content)
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        keys = shorten([str(name) for name in content]) or "nothing"
        raise CheckpointError(f"holds no tensors, but {keys}; a state dict was expected")
    return state


def to_torchvision(state: State) -> Weights:
    """The same weights under torchvision's names. Raises CheckpointError for another network's."""
    state = without_prefix(state)
    if any(name.startswith("decode_head.") for name in state):
        return from_mmseg(state)
    if any(name.startswith("segmentation_head.") for name in state):
        return from_smp(state)
    return Weights(state)


def without_prefix(state: State) -> State:
    """The network's tensors without the prefix that wrappers add; what lies beside it is left out.

    Raises CheckpointError where several networks are in the file.
    """
    state = {name.replace(COMPILED, ""): value for name, value in state.items()}
    prefixes = {
        name[: -len(key)]
        for name in state
        for key in FIRST_KEYS
        if name == key or name.endswith("." + key)
    }
    if len(prefixes) > 1:
        named = ", ".join(prefix or "no prefix" for prefix in sorted(prefixes))
        raise CheckpointError(f"holds several networks, under {named}; save one alone")
    prefix = prefixes.pop() if prefixes else ""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}

"""Other projects' DeepLabV3 under torchvision's names.

Sources of the names: segmentation_models_pytorch 0.6 (decoders/deeplabv3, encoders/resnet) and
mmsegmentation 1.2 (models/backbones/resnet, models/decode_heads/aspp_head and fcn_head).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.variant import MMSEG, SMP, STANDARD, Variant
from scripts.archive.checkpoint_file import CheckpointError, shorten

State = dict[str, Tensor]

# Patterns of segmentation_models_pytorch's names, with torchvision's; None where the network has no
# such part. Its decoder was a Sequential in older versions. Its classification head makes no mask.
SMP_NAMES = (
    (r"encoder\.(.*)", r"backbone.\1"),
    (r"decoder\.(?:0|aspp)\.(.*)", r"classifier.0.\1"),
    (r"decoder\.(?:1|conv)\.(.*)", r"classifier.1.\1"),
    (r"decoder\.(?:2|bn)\.(.*)", r"classifier.2.\1"),
    (r"segmentation_head\.0\.(.*)", r"classifier.4.\1"),
    (r"classification_head\..*", None),
)

# Of mmsegmentation's, whose ConvModule holds `conv` and `bn`; the backbone's are torchvision's.
MMSEG_NAMES = (
    (r"decode_head\.aspp_modules\.(\d+)\.conv\.(.*)", r"classifier.0.convs.\1.0.\2"),
    (r"decode_head\.aspp_modules\.(\d+)\.bn\.(.*)", r"classifier.0.convs.\1.1.\2"),
    (r"decode_head\.image_pool\.1\.conv\.(.*)", r"classifier.0.convs.{pool}.1.\1"),
    (r"decode_head\.image_pool\.1\.bn\.(.*)", r"classifier.0.convs.{pool}.2.\1"),
    (r"decode_head\.bottleneck\.conv\.(.*)", r"classifier.0.project.0.\1"),
    (r"decode_head\.bottleneck\.bn\.(.*)", r"classifier.0.project.1.\1"),
    (r"decode_head\.conv_seg\.(.*)", r"classifier.4.\1"),
    (r"auxiliary_head\.convs\.0\.conv\.(.*)", r"aux_classifier.0.\1"),
    (r"auxiliary_head\.convs\.0\.bn\.(.*)", r"aux_classifier.1.\1"),
    (r"auxiliary_head\.conv_seg\.(.*)", r"aux_classifier.4.\1"),
    (r"data_preprocessor\..*", None),
)


@dataclass(frozen=True)
class Weights:
    """A state dict under torchvision's names.

    `variant` is the network that another project's names stand for; None for torchvision's own,
    under which any variant's weights can be saved.
    """

    state: State
    variant: Variant | None = None


def from_smp(state: State) -> Weights:
    """Of segmentation_models_pytorch's DeepLabV3 with a ResNet."""
    state = renamed(state, SMP_NAMES)
    refuse_other_networks(state, ("decoder.", "segmentation_head."), f"{SMP}, not DeepLabV3")
    return Weights(without_unread_stage(state), Variant(SMP, head_channels=head_channels(state)))


def from_mmseg(state: State) -> Weights:
    """Of mmsegmentation's DeepLabV3: an EncoderDecoder with a ResNet or ResNetV1c and ASPPHead.

    Its head concatenates the image level first, torchvision's last.
    """
    branches = {name.split(".")[2] for name in state if "decode_head.aspp_modules." in name}
    rules = [
        (key, name and name.replace("{pool}", str(len(branches)))) for key, name in MMSEG_NAMES
    ]
    state = renamed(state, rules)
    refuse_other_networks(state, ("decode_head.",), f"{MMSEG}, not DeepLabV3 (ASPPHead)")
    channels = head_channels(state)
    projection = state.get("classifier.0.project.0.weight")
    if projection is not None:
        order = [projection[:, channels:], projection[:, :channels]]
        state["classifier.0.project.0.weight"] = torch.cat(order, dim=1)
    return Weights(state, Variant(MMSEG, "backbone.stem.0.weight" in state, channels))


def renamed(state: State, rules: Iterable[tuple[str, str | None]]) -> State:
    """The state under the names that the first rule gives to each; left out where that is None."""
    result = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            match = re.fullmatch(pattern, name)
            if match:
                if replacement is not None:
                    result[match.expand(replacement)] = value
                break
        else:
            result[name] = value
    return result


def refuse_other_networks(state: State, prefixes: tuple[str, ...], network: str) -> None:
    """Raise CheckpointError for a network of which names are left that DeepLabV3 does not have."""
    left = [name for name in state if name.startswith(prefixes)]
    if left:
        raise CheckpointError(f"is a network of {network}: it has {shorten(left)}")


def head_channels(state: State) -> int:
    projection = state.get("classifier.0.project.0.weight")
    return STANDARD.head_channels if projection is None else len(projection)


def without_unread_stage(state: State) -> State:
    """Without layer4 where the head reads layer3: segmentation_models_pytorch keeps it."""
    last, branch = (
        state.get(name)
        for name in ("backbone.layer4.0.downsample.0.weight", "classifier.0.convs.0.0.weight")
    )
    if last is None or branch is None or branch.shape[1] == len(last):
        return state
    return {name: v for name, v in state.items() if not name.startswith("backbone.layer4.")}

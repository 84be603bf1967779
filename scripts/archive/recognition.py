"""Which network a state dict belongs to, guessed from its keys and shapes, for messages."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

AUX_PREFIX = "aux_classifier."

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


def describe(state: Mapping[str, Tensor]) -> str:
    """The network of a state dict under torchvision's names."""
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
    stem = " with a deep stem" if "backbone.stem.0.weight" in state else ""
    stage = "" if any(name.startswith("backbone.layer4.") for name in state) else " up to layer3"
    return (found or "an unknown ResNet") + stem + stage

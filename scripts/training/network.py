"""The network that is trained: built at one of two output strides, started from a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from model.optimize.precision import fast_precision
from model.preset import Preset, load_preset, preset_names
from model.segmenter import Segmenter, build_segmenter
from scripts.archive.checkpoint import CheckpointError, published_weights, read_checkpoint
from scripts.common.terminal import say


def build(preset: Preset, *, coarse: bool, aux_head: bool = False) -> Segmenter:
    """The preset's network, or the same parameters at twice its output stride.

    There the maps have a quarter of the cells. Atrous rates are counted in cells: halved, they
    reach as far in the image.
    """
    if coarse:
        rates = tuple(max(1, rate // 2) for rate in preset.atrous_rates)
        preset = replace(preset, output_stride=2 * preset.output_stride, atrous_rates=rates)
    return build_segmenter(
        preset.backbone,
        preset.num_classes,
        preset.atrous_rates,
        aux_head,
        features=preset.features,
        output_stride=preset.output_stride,
    )


def take_strides(net: nn.Module, like: nn.Module) -> None:
    """Give `net`, in place, the strides and dilations of a network that is otherwise the same."""
    for ours, theirs in zip(net.modules(), like.modules(), strict=True):
        if isinstance(ours, nn.Conv2d) and isinstance(theirs, nn.Conv2d):
            ours.stride, ours.dilation, ours.padding = (
                theirs.stride,
                theirs.dilation,
                theirs.padding,
            )


def mixed_precision(device: torch.device) -> torch.autocast:
    """bf16 products in the block where the device has instructions for them, else fp32."""
    is_fast = fast_precision(device) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=is_fast)


def initialise(net: Segmenter, source: str) -> None:
    """Load a checkpoint, but for its last layer if that tells other classes apart.

    `source` is its path, or a preset's name for that preset's weights. An auxiliary head keeps its
    initial weights.
    """
    checkpoint = Path(source)
    if source in preset_names():
        weights = load_preset(source).weights
        if weights is None:
            raise CheckpointError(f"preset {source} has no weights to start from")
        checkpoint = published_weights(weights)
    fresh = net.state_dict()
    state = {
        name: value
        for name, value in read_checkpoint(checkpoint).items()
        if not name.startswith("aux_classifier.")
    }
    state |= {name: v for name, v in fresh.items() if name.startswith("aux_classifier.")}
    for name in ("classifier.4.weight", "classifier.4.bias"):
        if name in state and state[name].shape != fresh[name].shape:
            say(f"{name} is {tuple(state[name].shape)} in {checkpoint}: it starts from scratch")
            state[name] = fresh[name]
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint} does not fit the preset: {error}") from error

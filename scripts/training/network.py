"""The network that is trained: built at one of two output strides, started from a checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from model.optimize.precision import fast_precision
from model.preset import Preset, load_preset, preset_names
from model.segmenter import Segmenter, build_segmenter
from model.variant import STANDARD, Variant
from scripts.archive.checkpoint import CheckpointError, read_weights
from scripts.archive.published import published_weights
from scripts.common.terminal import say


def build(preset: Preset, *, coarse: bool, aux_head: bool = False) -> Segmenter:
    """The preset's network; if coarse, the same parameters at twice its output stride.

    Its feature maps have a quarter of the cells. Atrous rates are counted in cells: halved, they
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
        variant=preset.variant,
    )


def copy_strides(source: nn.Module, net: nn.Module) -> None:
    """Give `net`, in place, the strides and dilations of a network that is otherwise the same."""
    for theirs, ours in zip(source.modules(), net.modules(), strict=True):
        if isinstance(theirs, nn.Conv2d) and isinstance(ours, nn.Conv2d):
            ours.stride = theirs.stride
            ours.dilation = theirs.dilation
            ours.padding = theirs.padding


def mixed_precision(device: torch.device) -> torch.autocast:
    """A context that computes in bf16 where the device has instructions for it, else in fp32."""
    is_fast = fast_precision(device) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=is_fast)


def initialise(net: Segmenter, source: str, variant: Variant = STANDARD) -> None:
    """Load a checkpoint, except for its last layer if its number of classes differs.

    `source` is its path, or a preset's name for that preset's weights. An auxiliary head keeps its
    initial weights. Raises CheckpointError if the checkpoint is of another network, or of another
    variant than the network's.
    """
    checkpoint = Path(source)
    is_published = source in preset_names()
    if is_published:
        weights = load_preset(source).weights
        if weights is None:
            raise CheckpointError(f"preset {source} has no weights to start from")
        checkpoint = published_weights(weights)
    found = read_weights(checkpoint, verified=is_published)
    if found.variant is not None and found.variant != variant:
        raise CheckpointError(
            f"{checkpoint} is of another variant; give the preset the key variant: "
            f"{json.dumps(asdict(found.variant))}"
        )
    fresh = net.state_dict()
    state = {
        name: value for name, value in found.state.items() if not name.startswith("aux_classifier.")
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

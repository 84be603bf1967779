"""A segmenter whose maps are uint8 and whose weights are int8, for processors with VNNI or AMX.

Everything is quantised but what costs accuracy and hardly any time: the first layer, which reads
the image, the image level, and the last layer, which gives the logits. A map's quantisation comes
from the largest number in it, which `model.calibration` finds on photos.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from model.deeplab_head import ASPPPooling, DeepLabHead
from model.optimize.fused_cpu import can_fuse, fuse_convolutions
from model.optimize.quantized_conv import Quantization, QuantizedConv
from model.optimize.quantized_maps import (
    Maps,
    block_convs,
    conv_of,
    pyramid_of,
    quantizations,
    residual_blocks,
    stem_of,
)
from model.optimize.residual import ResidualBlock
from model.segmenter import Segmenter


class QuantizedStem(nn.Module):
    """The layers before the first block in their own dtype: (B, 3, H, W) -> uint8 map."""

    def __init__(self, layers: nn.Sequential, target: Quantization) -> None:
        super().__init__()
        self.layers = layers
        self.target = target

    def forward(self, x: Tensor) -> Tensor:
        return self.target.quantize(self.layers(x))


class QuantizedBlock(ResidualBlock):
    """A residual block: uint8 (B, C, H, W) -> uint8 (B, C', h, w). Overwrites its input."""

    def __init__(
        self,
        block: BasicBlock | Bottleneck,
        source: Quantization,
        maps: Maps,
        convolution: type[QuantizedConv],
    ) -> None:
        shortcut = None
        added = source
        if block.downsample is not None:
            conv = conv_of(block.downsample)
            added = maps[conv]
            shortcut = convolution(conv, source, added, relu=False)
        *early, late = block_convs(block)
        first = []
        for conv in early:
            first.append(convolution(conv, source, maps[conv]))
            source = maps[conv]
        last = convolution(late, source, maps[block], shortcut=added)
        super().__init__(first, last, shortcut)


class QuantizedImageLevel(nn.Module):
    """ASPPPooling: uint8 (B, C_in, H, W) -> uint8 (B, C_out, H, W); its convolution is in fp32."""

    def __init__(self, branch: ASPPPooling, source: Quantization, target: Quantization) -> None:
        super().__init__()
        _, *layers = branch  # the average is taken here
        self.layers = copy.deepcopy(nn.Sequential(*layers))
        self.source, self.target = source, target

    def forward(self, x: Tensor) -> Tensor:
        level = self.target.quantize(self.layers(self.source.dequantize(map_average(x))))
        return level.expand(-1, -1, *x.shape[-2:]).contiguous(memory_format=torch.channels_last)


class QuantizedHead(nn.Module):
    """uint8 (B, C, H, W) -> fp32 logits (B, num_classes, H, W)."""

    def __init__(
        self,
        head: DeepLabHead,
        source: Quantization,
        maps: Maps,
        convolution: type[QuantizedConv],
    ) -> None:
        super().__init__()
        pyramid = pyramid_of(head)
        *branches, image_level = pyramid.convs
        assert isinstance(image_level, ASPPPooling)
        joint = maps[pyramid.convs]
        self.branches = nn.ModuleList(
            convolution(conv_of(branch), source, joint) for branch in branches
        )
        self.branches.append(QuantizedImageLevel(image_level, source, joint))
        self.project = convolution(conv_of(pyramid.project), joint, maps.get(pyramid.project))
        self.hidden: nn.Module = nn.Identity()
        if isinstance(head[1], nn.Conv2d):  # not in every variant
            self.hidden = convolution(head[1], maps[pyramid.project], None)
        self.last = fused(nn.Sequential(copy.deepcopy(head[-1])))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([branch(x) for branch in self.branches], dim=1)
        logits: Tensor = self.last(self.hidden(self.project(x)))
        return logits


def quantized(
    net: Segmenter,
    calibration: Mapping[str, float],
    convolution: type[QuantizedConv],
    dtype: torch.dtype = torch.float32,
) -> nn.Sequential:
    """The quantised network: (B, 3, H, W) in `dtype`, channels_last -> logits in fp32.

    `net` is folded and in fp32, and shares no weights with the result. `calibration` is as
    `model.calibration.calibrate` gives it; ValueError says where it does not fit the network.
    """
    maps = quantizations(net, calibration)
    source = maps[stem_of(net)[-1]]
    stem = fused(copy.deepcopy(stem_of(net)).to(dtype))
    layers: list[nn.Module] = [QuantizedStem(stem, source)]
    for block in residual_blocks(net):
        layers.append(QuantizedBlock(block, source, maps, convolution))
        source = maps[block]
    layers.append(QuantizedHead(net.classifier, source, maps, convolution))
    return nn.Sequential(*layers).eval()


def fused(layers: nn.Sequential) -> nn.Sequential:
    """The layers with oneDNN's fused convolutions, in place, where they work."""
    if can_fuse(next(layers.parameters()).dtype):
        fuse_convolutions(layers)
    return layers


def map_average(x: Tensor) -> Tensor:
    """uint8 (B, C, H, W) -> fp32 (B, C, 1, 1), row by row.

    A whole map in fp32 does not fit into the cache: 3 ms instead of 23 (2048 channels, 65x65
    cells).
    """
    batch, channels, height, width = x.shape
    total = torch.zeros(batch, channels)
    for row in x.permute(2, 0, 3, 1):  # (B, W, C)
        total += row.float().sum(1)
    return (total / (height * width)).view(batch, channels, 1, 1)

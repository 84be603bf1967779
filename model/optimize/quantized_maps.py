"""Which maps of a network are kept as uint8, and how each of them is quantised."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from model.deeplab_head import ASPP, DeepLabHead
from model.optimize.quantized_conv import Quantization
from model.segmenter import Segmenter

Maps = Mapping[nn.Module, Quantization]  # by the module whose output it is


def quantizations(net: Segmenter, calibration: Mapping[str, float]) -> Maps:
    """How each stored map of a folded network is quantised, from the largest number in it.

    The pyramid's branches are concatenated, and have one quantisation: that of `convs`. ValueError
    says where the calibration does not fit the network.
    """
    stored = stored_maps(net)
    if calibration.keys() != stored.keys():
        differing = sorted(calibration.keys() ^ stored.keys())
        raise ValueError(
            f"the calibration is for another network: {len(differing)} layers are in only one of "
            f"the two, such as {differing[0]}; make one for this network"
        )
    maps: dict[nn.Module, Quantization] = {}
    for name, module in stored.items():
        largest = calibration[name]
        if not 0 < largest < math.inf:
            raise ValueError(f"the calibration of {name} is {largest}; expected a positive number")
        kind = Quantization.signed if is_signed(name) else Quantization.positive
        maps[module] = kind(largest)
    pyramid = pyramid_of(net.classifier)
    maps[pyramid.convs] = max((maps[branch] for branch in pyramid.convs), key=lambda q: q.scale)
    return maps


def stored_maps(net: Segmenter) -> dict[str, nn.Module]:
    """The modules of a folded network whose output, after its ReLU, is kept as uint8; by name."""
    stored: list[nn.Module] = [stem_of(net)[-1]]
    for block in residual_blocks(net):
        stored += [*block_convs(block)[:-1], block]
        if block.downsample is not None:
            stored.append(conv_of(block.downsample))
    pyramid = pyramid_of(net.classifier)
    stored += pyramid.convs
    if has_hidden_layer(net.classifier):
        stored.append(pyramid.project)
    names = {module: name for name, module in net.named_modules()}
    return {names[module]: module for module in stored}


def is_signed(name: str) -> bool:
    """Whether the stored map of this name has negative numbers: a shortcut has no ReLU."""
    return ".downsample." in name


def stem_of(net: Segmenter) -> nn.Sequential:
    """The layers before the first residual block, the last of which is the max pooling."""
    names = [name for name, _ in net.backbone.named_children()]
    return net.backbone[: names.index("layer1")]


def residual_blocks(net: Segmenter) -> list[BasicBlock | Bottleneck]:
    """In the order in which they run."""
    return [
        block for block in net.backbone.modules() if isinstance(block, (BasicBlock, Bottleneck))
    ]


def block_convs(block: BasicBlock | Bottleneck) -> list[nn.Conv2d]:
    """The convolutions of a block's main branch; to the last one's output the shortcut is added."""
    return [child for child in block.children() if isinstance(child, nn.Conv2d)]


def conv_of(layers: nn.Module) -> nn.Conv2d:
    """The convolution of a `Sequential` that begins with it: convolution, batch norm, ReLU."""
    conv = next(layers.children())
    assert isinstance(conv, nn.Conv2d)
    return conv


def pyramid_of(head: DeepLabHead) -> ASPP:
    pyramid = head[0]
    assert isinstance(pyramid, ASPP)
    return pyramid


def has_hidden_layer(head: DeepLabHead) -> bool:
    """Whether a convolution follows the pyramid before the last layer."""
    return isinstance(head[1], nn.Conv2d)

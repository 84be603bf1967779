"""Convolutions on an NVIDIA GPU that add bias and shortcut and apply the ReLU in one cuDNN call.

PyTorch runs a convolution's bias, the ReLU and a residual block's sum as separate kernels, which
read and write whole maps: 1.5 GB an image (ResNet-50, 520x520, bf16), 0.5 ms at 3 TB/s, while all
the arithmetic takes 0.4 ms at the rate of an H100's matrix products. cuDNN applies them to the
values that a convolution is about to store.

PyTorch has no contract for these operators, and `cudnn_convolution_relu` hands its uninitialised
output to cuDNN as the term to add, times zero: if cuDNN read it, NaN in it would stay NaN.
`fuse_if_equivalent` therefore compares the fused network with the plain one, in memory full of NaN.
"""

from __future__ import annotations

import copy
import logging
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from model.optimize.equivalence import relative_difference
from model.optimize.residual import ResidualBlock
from model.segmenter import Segmenter

logger = logging.getLogger(__name__)

# Pixels along a side of the image in the comparison: cuDNN chooses its kernels by the maps' sizes,
# and most photos have these.
TYPICAL_SIDE = 520

# Tolerance of the logits, as a share of their norm: bf16's rounding in some 60 layers is off by
# 0.02, a lost bias by more than 0.1.
LARGEST_DIFFERENCE = 0.05


class FusedConv(nn.Module):
    """relu(conv(x)), or relu(conv(x) + shortcut), of a convolution that has a bias.

    (B, C_in, H, W) -> (B, C_out, h, w), channels_last, in the convolution's dtype.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.weight = conv.weight
        self.bias = conv.bias
        self.geometry = geometry_of(conv)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        if shortcut is None:
            return torch.cudnn_convolution_relu(x, self.weight, self.bias, *self.geometry)
        return torch.cudnn_convolution_add_relu(
            x, self.weight, shortcut, 1.0, self.bias, *self.geometry
        )


class Geometry(NamedTuple):
    """A convolution's numbers, in the order in which cuDNN's operators take them."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def geometry_of(conv: nn.Conv2d) -> Geometry:
    assert isinstance(conv.padding, tuple)
    return Geometry(conv.stride, conv.padding, conv.dilation, conv.groups)


class FusedBlock(ResidualBlock):
    """A residual block of folded convolutions."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        convs = [child for child in block.children() if isinstance(child, nn.Conv2d)]
        *first, last = (FusedConv(conv) for conv in convs)
        shortcut = None
        if block.downsample is not None:
            conv = block.downsample[0]
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            # Both biases are terms of one sum: the last convolution adds them together.
            both = (last.bias.float() + conv.bias.float()).to(last.bias.dtype)
            last.bias = nn.Parameter(both, requires_grad=False)
            shortcut = without_bias(conv)
        super().__init__(first, last, shortcut)


class FusedStem(nn.Module):
    """max_pool(relu(conv(x))) of a ResNet, with bias and ReLU after the pooling.

    (B, 3, H, W) -> (B, C, H/4, W/4). Both are monotone, which allows the maximum first: the same
    bits from a quarter of the additions. The convolution stays plain: cuDNN's fused kernels for
    three channels in channels_last are slow (pytorch/pytorch#68506).
    """

    def __init__(self, conv: nn.Conv2d, pool: nn.Module) -> None:
        super().__init__()
        assert conv.bias is not None
        self.conv = without_bias(conv)
        self.pool = pool
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(self.conv(x))
        return y.add_(self.bias.view(1, -1, 1, 1)).relu_()


def without_bias(conv: nn.Conv2d) -> nn.Conv2d:
    """The same convolution, with the same weight tensor and no bias."""
    plain = copy.copy(conv)
    plain._parameters = {**conv._parameters, "bias": None}
    return plain


def fuse_convolutions(net: Segmenter) -> None:
    """Replace each convolution that a ReLU follows, and the sum between the two, in place.

    Batch norms must be folded already.
    """
    stem, backbone = ("conv1", "relu", "maxpool"), net.backbone
    conv, relu, pool = (backbone.get_submodule(name) for name in stem)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(relu, nn.ReLU)
    for name, module in zip(stem, (FusedStem(conv, pool), nn.Identity(), nn.Identity())):
        setattr(backbone, name, module)
    fuse_children(net)


def fuse_children(module: nn.Module) -> None:
    """`fuse_convolutions` within a module that is not a residual block and runs in order."""
    children = [
        (name, child)
        for name, child in module.named_children()
        if not isinstance(child, nn.Identity)  # a folded batch norm
    ]
    following = [*children[1:], ("", None)]
    for (name, child), (next_name, next_child) in zip(children, following):
        if isinstance(child, (BasicBlock, Bottleneck)):
            setattr(module, name, FusedBlock(child))
        elif not isinstance(child, nn.Conv2d):
            fuse_children(child)
        elif isinstance(next_child, nn.ReLU):
            setattr(module, name, FusedConv(child))
            setattr(module, next_name, nn.Identity())


def fuse_if_equivalent(net: Segmenter) -> Segmenter:
    """A fused copy of `net`, or `net` itself where the copy fails or its logits differ.

    `net` is folded, on the GPU, in channels_last and the dtype it is served in.
    """
    weight = next(net.parameters())
    image = typical_image().to(weight.device, weight.dtype)
    image = image.to(memory_format=torch.channels_last)
    try:
        fused = copy.deepcopy(net)
        fuse_convolutions(fused)
        difference = relative_difference(fused, net, image)
    except FloatingPointError:
        logger.warning("convolutions stay plain, as the plain network's logits are not finite")
        return net
    except (AttributeError, RuntimeError, TypeError) as error:
        logger.warning("convolutions stay plain, as cuDNN's fused ones fail: %s", error)
        return net
    if not difference <= LARGEST_DIFFERENCE:  # NaN is not
        logger.warning("convolutions stay plain, as the fused ones are off by %.3f", difference)
        return net
    return fused


def typical_image() -> Tensor:
    """Noise, (1, 3, H, W), in the range of normalised pixels; the same on every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 3, TYPICAL_SIDE, TYPICAL_SIDE, generator=generator)

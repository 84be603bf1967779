"""In what other projects' DeepLabV3 differs from torchvision's, under torchvision's names.

Weights fit only the network that they were trained in. A dilation is in no parameter's shape: with
another one a checkpoint loads, and its masks are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torchvision.models.resnet import BasicBlock

from model.deeplab_head import ASPP_CHANNELS

TORCHVISION = "torchvision"
SMP = "segmentation_models_pytorch"
MMSEG = "mmsegmentation"

# Whose rules the dilation and the head follow.
IMPLEMENTATIONS = (TORCHVISION, SMP, MMSEG)

STEM_CHANNELS = 64  # of every ResNet


@dataclass(frozen=True)
class Variant:
    """A DeepLabV3 by its differences from torchvision's, which is the default."""

    implementation: str = TORCHVISION  # one of IMPLEMENTATIONS
    deep_stem: bool = False  # ResNet-C: three 3x3 convolutions in place of the first 7x7 one
    head_channels: int = ASPP_CHANNELS  # of each branch of the pyramid, and of what it puts out

    @property
    def hidden_layer(self) -> bool:
        """Whether a 3x3 convolution follows the pyramid; mmsegmentation's own projection is one."""
        return self.implementation != MMSEG


# The network of torchvision, and ours.
STANDARD = Variant()


def deep_stem() -> nn.Sequential:
    """(B, 3, H, W) -> (B, 64, H/2, W/2), with the parameter names of mmsegmentation's ResNetV1c.

    "ResNet-C" in figure 2 of "Bag of Tricks for Image Classification with Convolutional Neural
    Networks" (He et al., 2018, https://arxiv.org/abs/1812.01187).
    """
    half = STEM_CHANNELS // 2
    return nn.Sequential(
        *conv3x3(3, half, stride=2), *conv3x3(half, half), *conv3x3(half, STEM_CHANNELS)
    )


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


def dilate_as(implementation: str, backbone: nn.Sequential) -> None:
    """Turn torchvision's dilation of a ResNet into another implementation's, in place.

    torchvision gives the 3x3 convolution that lost its stride the dilation of the stage before.
    segmentation_models_pytorch gives it that of its own stage. mmsegmentation's BasicBlock has a
    second convolution that is never dilated; its Bottleneck is torchvision's.
    """
    for name, stage in backbone.named_children():
        if not name.startswith("layer"):
            continue
        convs = [
            module
            for module in stage.modules()
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
        ]
        if implementation == SMP:
            widest = max(int(conv.dilation[0]) for conv in convs)
            for conv in convs:
                conv.dilation = conv.padding = (widest, widest)
        elif implementation == MMSEG:
            for block in stage.children():
                if isinstance(block, BasicBlock):
                    block.conv2.dilation = block.conv2.padding = (1, 1)

"""mmsegmentation's DeepLabV3, as its configuration deeplabv3_r50-d8 builds it, in plain PyTorch.

A reference with its names, dilations and order of branches (mmseg/models/backbones/resnet.py,
utils/res_layer.py, decode_heads/aspp_head.py and fcn_head.py of version 1.2). The library itself
needs mmcv and mmengine, which do not run on current versions of Python and PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

# depth -> block, number of blocks in each stage
DEPTHS = {18: (BasicBlock, (2, 2, 2, 2)), 50: (Bottleneck, (3, 4, 6, 3))}


class ConvModule(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, size: int, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (size // 2)
        self.conv = nn.Conv2d(
            in_channels, out_channels, size, padding=padding, dilation=dilation, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class ResNet(nn.Module):
    """Strides (1, 2, 1, 1), dilations (1, 1, 2, 4), contracted in a stage's first block."""

    def __init__(self, depth: int, deep_stem: bool) -> None:
        super().__init__()
        block, counts = DEPTHS[depth]
        if deep_stem:
            layers: list[nn.Module] = []
            for channels, width, stride in ((3, 32, 2), (32, 32, 1), (32, 64, 1)):
                conv = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
            self.stem = nn.Sequential(*layers)
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.channels = 64
        for index, (count, stride, dilation) in enumerate(zip(counts, (1, 2, 1, 1), (1, 1, 2, 4))):
            stage = self.stage(block, 64 << index, count, stride, dilation)
            self.add_module(f"layer{index + 1}", stage)

    def stage(
        self,
        block: type[BasicBlock | Bottleneck],
        width: int,
        count: int,
        stride: int,
        dilation: int,
    ) -> nn.Sequential:
        blocks = []
        for index in range(count):
            out_channels = width * (1 if block is BasicBlock else 4)
            shortcut = None
            first_stride = stride if index == 0 else 1
            if index == 0 and (stride != 1 or self.channels != out_channels):
                conv = nn.Conv2d(self.channels, out_channels, 1, stride, bias=False)
                shortcut = nn.Sequential(conv, nn.BatchNorm2d(out_channels))
            made = block(self.channels, width, first_stride, shortcut)
            dilated = made.conv1 if isinstance(made, BasicBlock) else made.conv2
            size = max(1, dilation // 2) if index == 0 else dilation
            dilated.dilation = dilated.padding = (size, size)
            self.channels = out_channels
            blocks.append(made)
        return nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) if hasattr(self, "stem") else torch.relu(self.bn1(self.conv1(x)))
        x = self.maxpool(x)
        for index in range(1, 5):
            x = getattr(self, f"layer{index}")(x)
        return x


class ASPPHead(nn.Module):
    def __init__(self, in_channels: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.image_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), ConvModule(in_channels, channels, 1)
        )
        self.aspp_modules = nn.ModuleList(
            ConvModule(in_channels, channels, 1 if rate == 1 else 3, rate)
            for rate in (1, 12, 24, 36)
        )
        self.bottleneck = ConvModule(5 * channels, channels, 3)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        level = nn.functional.interpolate(self.image_pool(x), x.shape[2:], mode="bilinear")
        branches = [level, *(branch(x) for branch in self.aspp_modules)]
        return self.conv_seg(self.bottleneck(torch.cat(branches, 1)))


class FCNHead(nn.Module):
    def __init__(self, in_channels: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvModule(in_channels, channels, 3))
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)


class EncoderDecoder(nn.Module):
    """(B, 3, H, W) -> logits (B, num_classes, H/8, W/8), before they are upsampled."""

    def __init__(
        self, depth: int = 50, num_classes: int = 7, channels: int = 512, deep_stem: bool = True
    ) -> None:
        super().__init__()
        self.backbone = ResNet(depth, deep_stem)
        in_channels = self.backbone.channels
        self.decode_head = ASPPHead(in_channels, channels, num_classes)
        self.auxiliary_head = FCNHead(in_channels // 2, in_channels // 8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode_head(self.backbone(x))

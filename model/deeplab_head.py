"""The DeepLabV3 head: atrous spatial pyramid pooling, then a 3x3 and a 1x1 convolution.

Figure 5 of "Rethinking Atrous Convolution for Semantic Image Segmentation" (Chen et al., 2017,
https://arxiv.org/abs/1706.05587), with the module and parameter names of torchvision's
implementation, so that its published checkpoints load with `strict=True` and no renaming.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Channels of every branch and of the head's hidden layer: section 4.1 of the paper.
ASPP_CHANNELS = 256

# Dilations of the three atrous branches at output stride 8, in cells of the feature map. The paper
# uses (6, 12, 18) at output stride 16 and doubles them at 8.
ATROUS_RATES = (12, 24, 36)


class ASPPConv(nn.Sequential):
    """A 3x3 atrous convolution that keeps the map's size: (B, C_in, H, W) -> (B, C_out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False
            ),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class ASPPPooling(nn.Sequential):
    """The image-level branch: the map's mean through a 1x1 convolution, spread over the map again.

    (B, C_in, H, W) -> (B, C_out, H, W), constant over H and W. In training mode its batch norm
    sees one value per channel and image, so a batch must hold at least two images.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        for module in self:
            x = module(x)
        # torchvision interpolates bilinearly; from a 1x1 map that is a broadcast.
        return x.expand(-1, -1, *size)


class ASPP(nn.Module):
    """Five views of one map, concatenated and projected: (B, C_in, H, W) -> (B, channels, H, W).

    The branches are a 1x1 convolution, one atrous 3x3 convolution per rate, and the image level.
    The side of the projection's kernel is 1 in the paper, and 3 in mmsegmentation.
    """

    def __init__(
        self,
        in_channels: int,
        atrous_rates: Sequence[int],
        channels: int = ASPP_CHANNELS,
        projection: int = 1,
    ) -> None:
        super().__init__()
        pointwise = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        atrous = [ASPPConv(in_channels, channels, rate) for rate in atrous_rates]
        self.convs = nn.ModuleList([pointwise, *atrous, ASPPPooling(in_channels, channels)])
        concatenated = len(self.convs) * channels
        self.project = nn.Sequential(
            nn.Conv2d(concatenated, channels, projection, padding=projection // 2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Dropout(0.5),
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.cat([branch(x) for branch in self.convs], dim=1)
        projected: Tensor = self.project(branches)
        return projected


class DeepLabHead(nn.Sequential):
    """Features to logits at the same resolution: (B, in_channels, H, W) -> (B, num_classes, H, W).

    `atrous_rates` are the dilations of the pyramid's 3x3 branches, in cells of the feature map.
    Without its hidden layer, a 3x3 convolution, the pyramid's projection is one; the last layer
    keeps its name.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        atrous_rates: Sequence[int] = ATROUS_RATES,
        *,
        channels: int = ASPP_CHANNELS,
        hidden_layer: bool = True,
    ) -> None:
        hidden: list[nn.Module] = [
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        super().__init__(
            ASPP(in_channels, atrous_rates, channels, projection=1 if hidden_layer else 3),
            *(hidden if hidden_layer else [nn.Identity() for _ in hidden]),
            nn.Conv2d(channels, num_classes, 1),
        )

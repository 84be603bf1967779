"""MixStyle (Zhou et al., 2021, https://arxiv.org/abs/2104.02008): photos trade their light.

The mean and the deviation of a channel of an early feature map tell light, weather and camera more
than what is in the street. Mixed between the crops of a batch, they teach the network not to rely
on those of the drives that it was trained on.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from model.segmenter import Segmenter

# The values and the stages of the paper.
PROBABILITY: Final = 0.5  # that a crop is mixed with another
ALPHA: Final = 0.1  # of the Beta distribution of its share: mostly close to 0 or to 1
STAGES: Final = ("layer1", "layer2")

EPSILON: Final = 1e-6  # of a variance; a channel may be 0 throughout


def add_mix_style(net: Segmenter) -> None:
    """Have `net`, in place, mix the maps that its early stages put out, in training mode only."""
    for stage in STAGES:
        getattr(net.backbone, stage).register_forward_hook(mix_in_training)


def mix_in_training(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return mix_style(output) if module.training else output


def mix_style(features: Tensor) -> Tensor:
    """features (B, C, h, w) with channels' means and deviations mixed between images.

    What is random is drawn on the CPU: it is the same on every device.
    """
    size = (len(features), 1, 1, 1)
    share = torch.distributions.Beta(ALPHA, ALPHA).sample(size)
    share = torch.where(torch.rand(size) < PROBABILITY, share, 1.0).to(features.device)
    other = torch.randperm(len(features)).to(features.device)

    variance, mean = torch.var_mean(features.detach().float(), (2, 3), keepdim=True)
    deviation = (variance + EPSILON).sqrt()
    mixed_mean = share * mean + (1 - share) * mean[other]
    mixed_deviation = share * deviation + (1 - share) * deviation[other]
    gain = mixed_deviation / deviation
    offset = mixed_mean - mean * gain
    return torch.addcmul(offset.to(features.dtype), features, gain.to(features.dtype))

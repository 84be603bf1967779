"""Measures a network while it is trained: its masks at the photos' own size, by plain operations.

`evaluation` measures the service's pipeline, with all its fast paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from imaging import fit_size
from imaging.mask.class_mask import class_mask_plain
from model.preset import Preset
from scripts.training.dataset import LabelledImage
from scripts.training.metrics import Scores, confusion_matrix, scores_of
from scripts.training.network import mixed_precision


@dataclass(frozen=True)
class ValidationFrame:
    """pixels uint8 (3, h, w) at the network's input size; target uint8 (H, W) at the photo's."""

    pixels: Tensor
    target: Tensor


def validation_frame(frame: LabelledImage, preset: Preset, device: torch.device) -> ValidationFrame:
    """The frame on a device, its pixels scaled as the service scales them."""
    height, width = frame.target.shape
    size = fit_size(width, height, preset.short_side)
    # With these strides torch takes the service's kernel, and pixels are equal to the bit.
    image = frame.image[None].contiguous(memory_format=torch.channels_last)
    pixels = nn.functional.interpolate(image, size, mode="bilinear", antialias=True)[0]
    return ValidationFrame(pixels.to(device), frame.target.to(device))


@torch.inference_mode()
def validate(net: nn.Module, frames: Sequence[ValidationFrame], preset: Preset) -> Scores:
    """Scores of a network's masks. The network is in training mode afterwards."""
    device = frames[0].pixels.device
    mean = torch.tensor(preset.mean, device=device).view(3, 1, 1)
    std = torch.tensor(preset.std, device=device).view(3, 1, 1)
    confusions = []
    net.eval()
    for frame in frames:
        image = (frame.pixels[None].float() / 255 - mean) / std
        with mixed_precision(device):
            logits = net(image.contiguous(memory_format=torch.channels_last))
        mask = class_mask_plain(logits, (frame.target.shape[0], frame.target.shape[1]))[0]
        confusions.append(confusion_matrix(mask.long(), frame.target.long(), preset.num_classes))
    net.train()
    return scores_of(torch.stack(confusions).cpu(), preset.labels)

"""A look at the data before a long run: crops as the network gets them, with their masks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from imaging.export.overlay import blend
from model.preset import Preset
from scripts.training.dataset import VOID

FIRST_LOOK: Final = "first-look.png"
NUM_CROPS: Final = 4
OPACITY: Final = 0.6
VOID_COLOUR: Final = (255, 0, 255)  # magenta, which few palettes and fewer photos have


def write_first_look(images: Tensor, targets: Tensor, preset: Preset, path: Path) -> None:
    """The first crops of a batch (B, 3, h, w), normalised, above the same under their targets.

    `targets` are int64 (B, h, w). Void is magenta.
    """
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))
    height, width = targets.shape[-2:]
    count = min(NUM_CROPS, len(images))
    sheet = Image.new("RGB", (count * width, 2 * height))
    palette = [*preset.palette, VOID_COLOUR]
    for number in range(count):
        pixels = (images[number].cpu() * std + mean).clamp(0, 1).mul(255).round().byte()
        crop = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        classes = targets[number].cpu()
        classes = classes.masked_fill(classes == VOID, preset.num_classes)
        sheet.paste(crop, (number * width, 0))
        sheet.paste(blend(crop, classes.numpy(), palette, OPACITY), (number * width, height))
    sheet.save(path)

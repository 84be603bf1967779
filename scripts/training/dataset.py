"""A folder of photos and masks: what a network is trained on and measured by.

`images/` holds the photos, `masks/` a PNG of the same name for each: one channel of 8 bits, whose
values are class ids. The id after the last class, or 255 as in VOC, marks pixels that do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from imaging import ImageError, decode_image
from model.preset import Preset
from scripts.common.terminal import UserError

VOID = 255  # in targets: the pixel does not count


class DataError(UserError):
    """A folder that cannot be used as it is. The message names the file and what is wrong."""


@dataclass(frozen=True)
class Frame:
    """A photo and its mask, as files."""

    image: Path
    mask: Path


def find_frames(folder: Path) -> list[Frame]:
    """The folder's photos with their masks, sorted by name. Raises DataError if one has none."""
    images = sorted(path for path in (folder / "images").glob("[!.]*") if path.is_file())
    if not images:
        raise DataError(f"{folder / 'images'} holds no photos")
    frames = [Frame(path, folder / "masks" / f"{path.stem}.png") for path in images]
    for frame in frames:
        if not frame.mask.is_file():
            raise DataError(f"{frame.image} has no mask: {frame.mask} is missing")
    return frames


def read_image(frame: Frame) -> Tensor:
    """uint8 (3, H, W), RGB and upright, as the service decodes it."""
    try:
        image = decode_image(frame.image.read_bytes())
    except ImageError as error:
        raise DataError(f"{frame.image}: {error.message}") from error
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def read_target(frame: Frame, num_classes: int) -> Tensor:
    """uint8 (H, W) class ids below `num_classes`, VOID elsewhere."""
    try:
        with Image.open(frame.mask) as mask:
            if mask.mode not in ("L", "P"):
                raise DataError(f"{frame.mask} has mode {mask.mode}; a mask is one 8-bit channel")
            target = torch.from_numpy(np.array(mask))
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{frame.mask} is no readable PNG") from error
    target[target == num_classes] = VOID
    highest = int(target[target != VOID].max()) if (target != VOID).any() else 0
    if highest > num_classes:
        raise DataError(
            f"{frame.mask} holds class id {highest}; the preset has ids 0 to {num_classes - 1}, "
            f"and {num_classes} or {VOID} where a pixel does not count"
        )
    return target


def check_frames(frames: Sequence[Frame], preset: Preset) -> Tensor:
    """Read every file once. Returns the pixels of each class, (C,); DataError names a bad file."""
    counts = torch.zeros(VOID + 1, dtype=torch.int64)
    for frame in tqdm(frames, desc="checking data", unit="frame", leave=False):
        image, target = read_image(frame), read_target(frame, preset.num_classes)
        if image.shape[1:] != target.shape:
            raise DataError(
                f"{frame.mask} is {side_text(target)}, but {frame.image} is {side_text(image)}; "
                "a mask has its photo's size"
            )
        counts += torch.bincount(target.flatten(), minlength=len(counts))
    folder = frames[0].image.parent.parent
    share = (counts[VOID] / counts.sum()).item()
    if share == 1:
        raise DataError(f"{folder}: every pixel is void")
    print(f"{folder}: {len(frames)} frames, {share:.1%} of the pixels are void")
    return counts[: preset.num_classes]


def side_text(pixels: Tensor) -> str:
    return f"{pixels.shape[-1]}x{pixels.shape[-2]}"

"""A folder of photos and masks, to train a network on or to measure one by.

`images/` holds the photos, `masks/` a PNG of the same name for each: one channel of 8 bits, whose
values are class ids. The id after the last class, or 255 as in VOC, marks void pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from imaging import ImageError, decode_image, fit_size
from scripts.common.terminal import UserError

VOID: Final = 255  # in targets: the pixel counts neither in losses nor in scores


class DataError(UserError):
    """A folder that cannot be used as it is. The message names the file and what is wrong."""


@dataclass(frozen=True)
class Frame:
    """A photo and its mask, as files."""

    image: Path
    mask: Path

    @property
    def sequence(self) -> str:
        """The drive or clip that the frame is from: its file name up to the last underscore."""
        return self.image.stem.rpartition("_")[0] or self.image.stem


@dataclass(frozen=True)
class LabelledImage:
    """A frame in memory: image uint8 (3, H, W), target uint8 (H, W) of class ids and VOID."""

    image: Tensor
    target: Tensor


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


def leave_out(frames: Sequence[Frame], sequence: str) -> tuple[list[Frame], list[Frame]]:
    """The other sequences' frames, and those of `sequence`. Raises DataError if either is empty."""
    kept = [frame for frame in frames if frame.sequence != sequence]
    left_out = [frame for frame in frames if frame.sequence == sequence]
    if not kept or not left_out:
        names = ", ".join(sorted({frame.sequence for frame in frames}))
        raise DataError(f"cannot leave out {sequence!r} of the sequences {names}")
    return kept, left_out


def read_image(frame: Frame) -> Tensor:
    """uint8 (3, H, W), RGB and upright, as the service decodes it. Raises DataError."""
    try:
        image = decode_image(frame.image.read_bytes())
    except ImageError as error:
        raise DataError(f"{frame.image}: {error.message}") from error
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def read_target(frame: Frame, num_classes: int) -> Tensor:
    """uint8 (H, W), class ids below `num_classes` and VOID. Raises DataError."""
    try:
        with Image.open(frame.mask) as mask:
            if mask.mode not in ("L", "P"):
                raise DataError(f"{frame.mask} has mode {mask.mode}; a mask is one 8-bit channel")
            target = torch.from_numpy(np.array(mask))
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{frame.mask} is not a readable PNG") from error
    target[target == num_classes] = VOID
    highest = int(target[target != VOID].max()) if (target != VOID).any() else 0
    if highest > num_classes:
        raise DataError(
            f"{frame.mask} holds class id {highest}; the preset has ids 0 to {num_classes - 1}, "
            f"and {num_classes} or {VOID} for void"
        )
    return target


def read_frames(frames: Sequence[Frame], num_classes: int) -> Iterator[LabelledImage]:
    """Every frame at its native size. Raises DataError for the first bad file."""
    for frame in tqdm(frames, "reading frames", unit="frame", leave=False, disable=None):
        image, target = read_image(frame), read_target(frame, num_classes)
        if image.shape[1:] != target.shape:
            raise DataError(
                f"{frame.mask} is {side_text(target)}, but {frame.image} is {side_text(image)}; "
                "a mask has its photo's size"
            )
        yield LabelledImage(image, target)


def count_pixels(targets: Sequence[Tensor], num_classes: int) -> Tensor:
    """Pixels of each class in all targets, void last: int64 (num_classes + 1,).

    Raises DataError if all are void.
    """
    counts = torch.zeros(VOID + 1, dtype=torch.int64)
    for target in targets:
        counts += torch.bincount(target.flatten(), minlength=len(counts))
    if counts[VOID] == counts.sum():
        raise DataError("every pixel is void")
    return torch.cat((counts[:num_classes], counts[VOID:]))


def scaled_down(frame: LabelledImage, short_side: int) -> LabelledImage:
    """The frame with at most this short side, px: bilinear with antialiasing, targets nearest."""
    height, width = frame.target.shape
    if min(height, width) <= short_side:
        return frame
    size = fit_size(width, height, short_side)
    image = interpolate(frame.image[None], size, mode="bilinear", antialias=True)[0]
    return LabelledImage(image, interpolate(frame.target[None, None], size)[0, 0])


def side_text(pixels: Tensor) -> str:
    return f"{pixels.shape[-1]}x{pixels.shape[-2]}"

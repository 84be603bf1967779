"""Samples -> a batch of crops and targets, as tensor operations on the device of the frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad

from model.preset import Preset
from scripts.training.dataset import VOID, LabelledImage
from scripts.training.sampling import Sample

BLUR_TAPS: Final = 9  # px; up to a standard deviation of 2 px, the kernel's tails are negligible


@dataclass(frozen=True)
class SampleTensors:
    """A batch's samples as tensors on a device, shaped to be broadcast over (B, 3, h, w)."""

    transform: Tensor  # (B, 2, 3)
    colour: Tensor  # (B, 3, 3)
    contrast: Tensor  # (B, 1, 1, 1)
    gamma: Tensor  # (B, 1, 1, 1)
    shade: Tensor  # (B, 2, 1, 1, 1)
    glare: Tensor  # (B, 4, 1, 1, 1)
    blur: Tensor  # (B, 1)
    noise: Tensor  # (B, 1, 1, 1)
    erased: Tensor  # (B, MAX_ERASED, 4, 1, 1)
    pasted: Tensor  # (B, 1, 1)


class Cropper:
    """Cuts, augments and normalises the crops of samples.

    The frames stay on their device. `size` (h, w) is the crops', px; objects of the class ids
    `rare` are pasted between crops.
    """

    def __init__(
        self,
        frames: Sequence[LabelledImage],
        preset: Preset,
        size: tuple[int, int],
        rare: Sequence[int],
    ) -> None:
        self.frames = frames
        self.size = size
        self.device = frames[0].image.device
        self.mean = torch.tensor(preset.mean, device=self.device).view(3, 1, 1)
        self.std = torch.tensor(preset.std, device=self.device).view(3, 1, 1)
        self.is_rare = torch.zeros(VOID + 1, dtype=torch.bool)
        self.is_rare[list(rare)] = True
        self.is_rare = self.is_rare.to(self.device)
        # Crops take their noise from one tile, as random generators differ between devices.
        tile = (3, 2 * size[0], 2 * size[1])
        noise = torch.randn(tile, generator=torch.Generator().manual_seed(0))
        self.noise_tile = noise.to(self.device)
        self.x = pixel_centres(size[1], self.device)  # (w,)
        self.y = pixel_centres(size[0], self.device)[:, None]  # (h, 1)

    def __call__(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """Normalised fp32 (B, 3, h, w) in channels_last, and targets int64 (B, h, w)."""
        tensors = upload(samples, self.device)
        image, target = self.cut(samples, tensors.transform)
        image, target = self.paste(image, target, tensors.pasted)
        image = change_light(image, tensors, self.x, self.y)
        if any(sample.blur for sample in samples):
            image = blur(image, tensors.blur)
        if any(sample.noise for sample in samples):
            image = self.add_noise(image, samples, tensors.noise)
        image = (image - self.mean) / self.std
        image, target = self.erase(image, target, tensors.erased)
        return image.contiguous(memory_format=torch.channels_last), target

    def cut(self, samples: Sequence[Sample], transform: Tensor) -> tuple[Tensor, Tensor]:
        """fp32 (B, 3, h, w) in 0..1 and int64 (B, h, w); mean colour and void beyond a frame."""
        grids = affine_grid(transform, [len(samples), 3, *self.size], align_corners=False)
        crops = [
            cut(self.frames[sample.frame], grid, sample.scale, self.mean)
            for sample, grid in zip(samples, grids.split(1), strict=True)
        ]
        images, targets = zip(*crops, strict=True)
        return torch.cat(images), torch.cat(targets)

    def paste(self, image: Tensor, target: Tensor, pasted: Tensor) -> tuple[Tensor, Tensor]:
        """Paste the pixels of rare classes from the previous crop of the batch, in the same place.

        Copy-paste (Ghiasi et al., 2021, https://arxiv.org/abs/2012.07177), for semantic masks.
        """
        donor, donor_target = image.roll(1, 0), target.roll(1, 0)
        where = self.is_rare[donor_target] & pasted
        return torch.where(where[:, None], donor, image), torch.where(where, donor_target, target)

    def add_noise(self, image: Tensor, samples: Sequence[Sample], strength: Tensor) -> Tensor:
        height, width = self.size
        noise = torch.stack(
            [
                self.noise_tile[:, y : y + height, x : x + width]
                for y, x in (sample.noise_corner for sample in samples)
            ]
        )
        return torch.addcmul(image, noise, strength)

    def erase(self, image: Tensor, target: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Put the mean colour and void into boxes (B, MAX_ERASED, 4, 1, 1).

        Random erasing (Zhong et al., 2020, https://arxiv.org/abs/1708.04896), whose pixels do not
        count. `image` is normalised: its mean colour is 0.
        """
        left, top, right, bottom = boxes.unbind(2)  # each (B, MAX_ERASED, 1, 1)
        inside = (self.x >= left) & (self.x < right) & (self.y >= top) & (self.y < bottom)
        erased = inside.any(1)
        return image.masked_fill(erased[:, None], 0), target.masked_fill(erased, VOID)


def upload(samples: Sequence[Sample], device: torch.device) -> SampleTensors:
    """The samples on a device, without waiting for the work that is queued there."""

    def send(name: str, *trailing: int) -> Tensor:
        values = np.array([getattr(sample, name) for sample in samples])
        tensor = torch.from_numpy(values if values.dtype == bool else values.astype(np.float32))
        tensor = tensor.reshape(*tensor.shape, *trailing)
        if device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True)

    return SampleTensors(
        transform=send("transform"),
        colour=send("colour"),
        contrast=send("contrast", 1, 1, 1),
        gamma=send("gamma", 1, 1, 1),
        shade=send("shade", 1, 1, 1),
        glare=send("glare", 1, 1, 1),
        blur=send("blur", 1),
        noise=send("noise", 1, 1, 1),
        erased=send("erased", 1, 1),
        pasted=send("pasted", 1, 1),
    )


def pixel_centres(count: int, device: torch.device) -> Tensor:
    """Positions of pixels along a side whose edges are -1 and 1."""
    return (2 * torch.arange(count, device=device) + 1) / count - 1


def cut(frame: LabelledImage, grid: Tensor, scale: float, fill: Tensor) -> tuple[Tensor, Tensor]:
    """The frame at the positions of grid (1, h, w, 2): fp32 (1, 3, h, w) in 0..1, int64 (1, h, w).

    Pixels are bilinear, targets nearest; beyond the frame they are `fill` (3, 1, 1) and void.
    `scale` is px of the crop per px of the frame.
    """
    pixels = frame.image[None].float() / 255 - fill
    if scale < 1:  # grid_sample has no antialiasing
        size = [max(1, round(scale * side)) for side in frame.target.shape]
        pixels = interpolate(pixels, size, mode="bilinear", antialias=True)
    image = grid_sample(pixels, grid, mode="bilinear", align_corners=False) + fill
    labels = frame.target[None, None].float() - VOID
    target = grid_sample(labels, grid, mode="nearest", align_corners=False) + VOID
    return image, target[:, 0].long()


def change_light(image: Tensor, tensors: SampleTensors, x: Tensor, y: Tensor) -> Tensor:
    """RGB (B, 3, h, w), in 0..1, in another light; x (w,) and y (h, 1) are positions in -1..1."""
    image = (tensors.colour @ image.flatten(2)).view_as(image)
    across, down = tensors.shade.unbind(1)
    image = image * torch.exp(across * x + down * y)
    left, top, radius, strength = tensors.glare.unbind(1)
    distance = ((x - left) ** 2 + (y - top) ** 2) / radius**2
    image = image + strength * torch.exp(-distance / 2)
    middle = image.mean((1, 2, 3), keepdim=True)
    image = middle + (image - middle) * tensors.contrast
    return image.clamp(0, 1) ** tensors.gamma


def blur(image: Tensor, deviation: Tensor) -> Tensor:
    """Gaussian blur of (B, 3, h, w), each image by its own standard deviation (B, 1), px."""
    batch, channels, height, width = image.shape
    taps = torch.arange(BLUR_TAPS, device=image.device) - BLUR_TAPS // 2
    kernel = torch.exp(-0.5 * (taps / deviation.clamp(min=0.1)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = pad(image, [BLUR_TAPS // 2] * 4, mode="reflect").flatten(0, 1)[None]
    planes = conv2d(planes, kernel[:, None, None, :], groups=batch * channels)
    planes = conv2d(planes, kernel[:, None, :, None], groups=batch * channels)
    return planes.view(batch, channels, height, width)

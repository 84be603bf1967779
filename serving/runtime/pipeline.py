"""From image bytes to class masks: decode, group by input shape, one forward a group, mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from imaging import Limits, fit_size, resize
from imaging.decode.budget import PixelBudget
from imaging.decode.decoder import decoded_image
from imaging.mask.class_mask import class_mask, class_mask_and_confidence
from imaging.mask.select import keep_classes, keep_confident
from model.optimize.cuda_graphs import release_cached_memory
from model.preset import Preset
from serving.runtime.device import is_out_of_memory, upload
from serving.types import Options


@dataclass(frozen=True)
class Photo:
    """A decoded image: what the network reads of it, and what an answer needs of the original."""

    pixels: Tensor  # uint8 (3, h, w), RGB, at the network's input size
    size: tuple[int, int]  # (H, W) of the upright original
    original: Image.Image | None  # RGB; kept only for answers that show it, since it is large


@dataclass(frozen=True)
class Segmentation:
    """The class of every pixel of an upright photo of H x W pixels; void where it has none."""

    mask: npt.NDArray[np.integer]  # (H, W) class ids: uint8, or int32 where an id is beyond 255
    confidence: npt.NDArray[np.uint8] | None  # uint8 (H, W): probability of that class x 255
    original: Image.Image | None  # the photo itself, RGB, where an answer shows it


def read_photo(
    data: bytes,
    preset: Preset,
    limits: Limits,
    keep_original: bool,
    budget: PixelBudget | None = None,
) -> Photo:
    """Decode an image and bring it to the size the weights were trained for.

    Those who do so at the same time share a budget. Raises ImageError where the bytes are no image
    that is read, or one beyond the limits.
    """
    with decoded_image(data, limits, budget or PixelBudget(limits.max_pixels)) as image:
        width, height = image.size
        pixels = resize(image, fit_size(width, height, preset.short_side))
        return Photo(pixels, (height, width), image if keep_original else None)


def group_by_shape(pixels: Mapping[int, Tensor], largest: int) -> list[list[int]]:
    """The keys of tensors that share a shape, in groups of at most `largest`.

    Photos of other shapes are not padded into a group: the image-level branch of the pyramid
    averages over the whole map, so padding would change every pixel's logits.
    """
    groups: dict[torch.Size, list[int]] = {}
    for key, tensor in pixels.items():
        groups.setdefault(tensor.shape, []).append(key)
    return [
        keys[start : start + largest]
        for keys in groups.values()
        for start in range(0, len(keys), largest)
    ]


def forward(
    net: nn.Module,
    images: Sequence[Tensor],
    preset: Preset,
    device: torch.device,
    on_halving: Callable[[], None] = lambda: None,
) -> list[Tensor | Exception]:
    """Logits (1, num_classes, h, w) on `device` of each image, uint8 (3, h, w), all of one shape.

    Never raises: an image without logits has the reason in their place. Where the device runs out
    of memory the batch is halved and tried again, so that only an image too large by itself fails.
    """
    try:
        logits: Tensor = net(normalize(upload(images, device), preset))
        return list(torch.split(logits, 1))
    except Exception as error:
        if not is_out_of_memory(error):
            return [error] * len(images)
        if len(images) == 1:
            return [error.with_traceback(None)]  # its frames would keep the tensors alive
    # Out of the except block: until here the error holds the failed attempt's tensors.
    release_cached_memory()
    on_halving()
    half = len(images) // 2
    return [
        *forward(net, images[:half], preset, device, on_halving),
        *forward(net, images[half:], preset, device, on_halving),
    ]


def normalize(pixels: Tensor, preset: Preset) -> Tensor:
    """uint8 (B, 3, H, W) -> fp32, scaled to [0, 1], less the preset's mean, over its deviation."""
    mean = torch.tensor(preset.mean, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(preset.std, device=pixels.device).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std


def segment(photo: Photo, logits: Tensor, with_confidence: bool) -> Segmentation:
    """The photo's class mask at its own size from its logits (1, num_classes, h, w)."""
    if with_confidence:
        mask, confidence = class_mask_and_confidence(logits, photo.size)
        return Segmentation(mask[0].cpu().numpy(), confidence[0].cpu().numpy(), photo.original)
    return Segmentation(class_mask(logits, photo.size)[0].cpu().numpy(), None, photo.original)


def select(segmentation: Segmentation, options: Options, void: int) -> Segmentation:
    """The segmentation in which only the pixels that `options` name keep their class.

    A threshold takes the confidence, which stays what it was: that of the class that won.
    """
    mask = segmentation.mask
    if options.classes is not None:
        mask = keep_classes(mask, options.classes, void)
    if options.threshold > 0:
        assert segmentation.confidence is not None
        mask = keep_confident(mask, segmentation.confidence, options.threshold, void)
    return replace(segmentation, mask=mask)

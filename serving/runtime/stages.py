"""What the stages compute: image bytes -> photo -> logits -> segmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from imaging import Limits, fit_size, resize
from imaging.decode.budget import PixelBudget
from imaging.decode.decoder import decoded_image
from imaging.decode.pixels import image_of_pixels
from imaging.mask.class_mask import class_mask, class_mask_and_confidence
from imaging.mask.select import keep_classes, keep_confident, keep_valid
from model.optimize.cuda_errors import is_out_of_memory
from serving.runtime.device import download, release_cached_memory, upload
from serving.types import Options, Segmentation


@dataclass(frozen=True)
class Photo:
    """A decoded image: the network's input, and what a response needs of the original."""

    pixels: Tensor  # uint8 (3, h, w), RGB, at the network's input size
    size: tuple[int, int]  # (H, W) of the upright original
    original: Image.Image | None  # RGB; kept only for responses that show it, since it is large
    valid: npt.NDArray[np.bool_] | None = (
        None  # (H, W), False where the file has no data; None: all
    )


def read_photo(
    image: bytes | npt.NDArray[np.uint8],
    short_side: int,
    limits: Limits,
    budget: PixelBudget,
    keep_original: bool,
) -> Photo:
    """Decode an image and resize it to the size the weights were trained for.

    `image` is a file, or pixels (H, W, 3) in RGB; `short_side` is in pixels; photos that are read
    at the same time share `budget`. Raises ImageError where the bytes are no readable image, or
    one beyond the limits.
    """
    with (
        decoded_image(image, limits, budget)
        if isinstance(image, bytes)
        else image_of_pixels(image, limits, budget)
    ) as decoded:
        width, height = decoded.pixels.size
        pixels = resize(decoded.pixels, fit_size(width, height, short_side))
        original = decoded.pixels if keep_original else None
        return Photo(pixels, (height, width), original, decoded.valid)


def group_by_shape(shapes: Sequence[torch.Size], largest: int) -> list[list[int]]:
    """The indices of equal shapes, in groups of at most `largest`.

    Photos of other shapes are not padded into a group: the image-level branch of the pyramid
    averages over the whole map, so padding would change every pixel's logits.
    """
    groups: dict[torch.Size, list[int]] = {}
    for index, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(index)
    return [
        indices[start : start + largest]
        for indices in groups.values()
        for start in range(0, len(indices), largest)
    ]


def forward(
    net: nn.Module,
    images: Sequence[Tensor],
    device: torch.device,
    on_halving: Callable[[], None] = lambda: None,
) -> list[Tensor | Exception]:
    """Logits (1, num_classes, h, w) on `device` of each image, uint8 (3, h, w), all of one shape.

    Never raises: in place of logits that could not be computed stands the reason. Where the device
    runs out of memory the batch is halved and tried again, so that only an image too large by
    itself fails.
    """
    try:
        logits: Tensor = net(upload(images, device))
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
        *forward(net, images[:half], device, on_halving),
        *forward(net, images[half:], device, on_halving),
    ]


def segment(photo: Photo, logits: Tensor, with_confidence: bool) -> Segmentation:
    """The photo's class mask at its own size from its logits (1, num_classes, h, w)."""
    if with_confidence:
        mask, confidence = class_mask_and_confidence(logits, photo.size)
        levels = download(confidence[0]).astype(np.uint8, copy=False)
        return Segmentation(download(mask[0]), levels, photo.original)
    return Segmentation(download(class_mask(logits, photo.size)[0]), None, photo.original)


def select(
    segmentation: Segmentation,
    options: Options,
    void: int,
    valid: npt.NDArray[np.bool_] | None = None,
) -> Segmentation:
    """The segmentation in which only valid pixels that `options` name keep their class.

    A threshold reads the confidence, which stays as it is: that of the class that won.
    """
    mask = segmentation.mask
    if valid is not None:
        mask = keep_valid(mask, valid, void)
    if options.classes is not None:
        mask = keep_classes(mask, options.classes, void)
    if options.threshold > 0:
        assert segmentation.confidence is not None  # formats.needs_confidence sees to it
        mask = keep_confident(mask, segmentation.confidence, options.threshold, void)
    return replace(segmentation, mask=mask)

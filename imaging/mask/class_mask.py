"""Logits on a coarse grid -> class masks at the photo's size.

The `*_plain` functions are the specification. They build the upsampled logits (B, C, H, W), 1 GB
for 21 classes at 12 megapixels; the others do not.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from imaging.mask.bilinear import HUGE, pixel_positions
from imaging.mask.confidence import upsample_confidence
from imaging.mask.upsample_argmax import upsample_argmax

# Upsampled logits at a time on devices without an algorithm of their own: 32 MB in float32.
CHUNK_LOGITS = 1 << 23


def class_mask_plain(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """What `class_mask` returns, up to the order of classes that are equal within rounding."""
    upsampled = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
    return upsampled.argmax(1).to(_label_dtype(logits))


def class_mask_and_confidence_plain(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """What `class_mask_and_confidence` returns, up to one grey level."""
    upsampled = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
    probability, label = upsampled.softmax(1).max(1)
    return label.to(_label_dtype(logits)), probability.mul(255).round().to(torch.uint8)


def class_mask(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The class with the largest logit at every pixel.

    logits (B, C, h, w), of any float type and memory format, are resampled bilinearly to `size`
    (H, W), which may be smaller, as `F.interpolate(..., align_corners=False)` does. Returns
    (B, H, W) on the same device: uint8, or int32 beyond 256 classes. Infinite logits stand for
    1e30, so that -inf excludes a class; NaN stands for -1e30.
    """
    if logits.device.type == "cpu":
        mask = logits.new_empty((len(logits), *size), dtype=_label_dtype(logits))
        for image, out in zip(logits.detach().float(), mask):
            upsample_argmax(image.numpy(), out.numpy())
        return mask
    return _on_device(logits, size, with_confidence=False)[0]


def class_mask_and_confidence(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """`class_mask`, and the softmax probability of the winning class x 255, (B, H, W) uint8.

    The probability is that of the upsampled logits, to within one grey level.
    """
    if logits.device.type == "cpu":
        confidence = logits.new_empty((len(logits), *size), dtype=torch.uint8)
        for image, out in zip(logits.detach().float(), confidence):
            upsample_confidence(image.numpy(), out.numpy())
        return class_mask(logits, size), confidence
    return _on_device(logits, size, with_confidence=True)


def _label_dtype(logits: Tensor) -> torch.dtype:
    return torch.uint8 if logits.shape[1] <= 256 else torch.int32


def _on_device(
    logits: Tensor, size: tuple[int, int], *, with_confidence: bool
) -> tuple[Tensor, Tensor]:
    if logits.device.type == "cuda" and triton_works(logits.device):
        from imaging.mask.triton_kernel import label_pixels

        return label_pixels(logits, size, _label_dtype(logits), with_confidence=with_confidence)
    return mask_in_chunks(logits, size, with_confidence=with_confidence)


@functools.cache
def triton_works(device: torch.device) -> bool:
    """Whether the kernel compiles and runs on the GPU; if not, one warning says why.

    The first call takes seconds, and should not be made by several threads at once.
    """
    try:
        from imaging.mask.triton_kernel import label_pixels

        logits = torch.zeros(1, 2, 1, 1, device=device)
        for dtype, with_confidence in itertools.product((torch.uint8, torch.int32), (False, True)):
            label_pixels(logits, (1, 1), dtype, with_confidence=with_confidence)
        torch.cuda.synchronize(device)  # raises the GPU's errors
    except Exception as error:  # no Triton, no C compiler, a GPU it does not know
        warnings.warn(f"Triton failed, so masks are computed without it: {error!r}", stacklevel=2)
        return False
    return True


def mask_in_chunks(
    logits: Tensor, size: tuple[int, int], *, with_confidence: bool
) -> tuple[Tensor, Tensor]:
    """On any device, a few rows at a time; without a confidence, that is empty."""
    mask = logits.new_empty((len(logits), *size), dtype=_label_dtype(logits))
    confidence = mask.new_empty(mask.shape if with_confidence else (0,), dtype=torch.uint8)
    for rows, upsampled in _upsampled_rows(logits, size):
        best, label = upsampled.max(1)
        mask[:, rows] = label.to(mask.dtype)
        if with_confidence:
            total = upsampled.sub_(best[:, None]).exp_().sum(1)
            confidence[:, rows] = (255 / total).round_().to(torch.uint8)
    return mask, confidence


def _upsampled_rows(logits: Tensor, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
    """(rows, (B, C, rows, W)) until all H rows have been seen."""
    batch, num_classes, height, _ = logits.shape
    position = torch.from_numpy(pixel_positions(height, size[0])).clamp_(0, height - 1)
    position = position.to(logits.device)
    top = position.long()
    bottom = (top + 1).clamp(max=height - 1)
    weight = (position - top)[:, None]
    logits = logits.float().nan_to_num(nan=-HUGE, posinf=HUGE, neginf=-HUGE)
    step = max(1, CHUNK_LOGITS // max(1, batch * num_classes * size[1]))
    for start in range(0, size[0], step):
        rows = slice(start, start + step)
        part = torch.lerp(logits[:, :, top[rows]], logits[:, :, bottom[rows]], weight[rows])
        yield rows, F.interpolate(part, (part.shape[2], size[1]), mode="bilinear")

"""The class mask on a GPU: one kernel reads four logits per class and pixel and writes one label.

Neighbouring pixels read the same nodes, so these come from the cache; what is left is arithmetic,
and one to five bytes written per pixel. Imported where it is used: not every machine has Triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from imaging.mask import bilinear

# Pixels that one program labels: 128 bytes are a cache line.
BLOCK_ROWS = 2
BLOCK_COLUMNS = 128

# Triton would compile the kernel again whenever one of these becomes 1 or a multiple of 16, and a
# request would wait a second for it. Every photo has its own size.
SIZES = (
    *("stride_image", "stride_class", "stride_row", "stride_column"),
    *("num_classes", "height", "width", "out_height", "out_width"),
)

ALIGNMENT = 16  # bytes, as Triton has it

HUGE = tl.constexpr(bilinear.HUGE)


@triton.jit
def _source(index, scale, nodes):  # type: ignore[no-untyped-def]
    """The nodes around each pixel and the weight of the second; see `bilinear.pixel_positions`."""
    position = tl.maximum(scale * (index.to(tl.float32) + 0.5) - 0.5, 0.0)
    low = tl.minimum(position.to(tl.int32), nodes - 1)
    return low, tl.minimum(low + 1, nodes - 1), position - low.to(tl.float32)


@triton.jit
def _load_finite(pointer):  # type: ignore[no-untyped-def]
    """As `bilinear.finite`: -inf times a weight of 0 would be NaN. The maximum of NaN is -HUGE."""
    value = tl.load(pointer).to(tl.float32)
    return tl.minimum(tl.maximum(value, -HUGE), HUGE)


@triton.jit(do_not_specialize=SIZES)  # type: ignore[untyped-decorator]
def _label_kernel(  # type: ignore[no-untyped-def]
    logits,
    mask,
    confidence,
    stride_image,
    stride_class,
    stride_row,
    stride_column,
    num_classes,
    height,
    width,
    out_height,
    out_width,
    scale_y,
    scale_x,
    with_confidence: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
):
    x = tl.program_id(0) * columns + tl.arange(0, columns)[None, :]
    y = tl.program_id(1) * rows + tl.arange(0, rows)[:, None]
    image = tl.program_id(2).to(tl.int64)
    top, bottom, down = _source(y, scale_y, height)  # (rows, 1)
    left, right, across = _source(x, scale_x, width)  # (1, columns)

    # Pixels past the edge of the image read its last nodes, and are not written.
    upper = logits + image * stride_image + top * stride_row
    lower = logits + image * stride_image + bottom * stride_row
    left *= stride_column
    right *= stride_column

    best = tl.full((rows, columns), -3e38, tl.float32)  # below -HUGE
    label = tl.zeros((rows, columns), tl.int32)
    total = tl.zeros((rows, columns), tl.float32)  # sum of exp(value - best) over the classes seen
    for c in range(num_classes):
        top_left = _load_finite(upper + left)
        top_right = _load_finite(upper + right)
        bottom_left = _load_finite(lower + left)
        bottom_right = _load_finite(lower + right)
        above = top_left * (1 - across) + top_right * across
        below = bottom_left * (1 - across) + bottom_right * across
        value = above * (1 - down) + below * down
        wins = value > best
        if with_confidence:
            distance = tl.exp(-tl.abs(value - best))
            total = tl.where(wins, total * distance + 1, total + distance)
        label = tl.where(wins, c, label)
        best = tl.where(wins, value, best)
        upper += stride_class
        lower += stride_class

    pixel = (image * out_height + y) * out_width + x
    inside = (y < out_height) & (x < out_width)
    tl.store(mask + pixel, label.to(mask.dtype.element_ty), mask=inside)
    if with_confidence:
        tl.store(confidence + pixel, (255 / total + 0.5).to(tl.uint8), mask=inside)


def label_pixels(
    logits: Tensor, size: tuple[int, int], dtype: torch.dtype, *, with_confidence: bool
) -> tuple[Tensor, Tensor]:
    """Masks (B, H, W) of `dtype`, and confidences (B, H, W) uint8, empty unless `with_confidence`.

    logits (B, C, h, w) may have any float type and any strides.
    """
    batch, num_classes, height, width = logits.shape
    if logits.data_ptr() % ALIGNMENT:  # one of a batch: Triton would compile for it again
        logits = logits.clone()
    mask = logits.new_empty((batch, *size), dtype=dtype)
    confidence = mask.new_empty(mask.shape if with_confidence else (0,), dtype=torch.uint8)
    if mask.numel() == 0:
        return mask, confidence
    blocks = (triton.cdiv(size[1], BLOCK_COLUMNS), triton.cdiv(size[0], BLOCK_ROWS), batch)
    with torch.cuda.device(logits.device if logits.is_cuda else -1):  # Triton uses the current one
        _label_kernel[blocks](
            logits,
            mask,
            confidence,
            *logits.stride(),
            num_classes,
            height,
            width,
            *size,
            height / size[0],
            width / size[1],
            with_confidence=with_confidence,
            rows=BLOCK_ROWS,
            columns=BLOCK_COLUMNS,
        )
    return mask, confidence

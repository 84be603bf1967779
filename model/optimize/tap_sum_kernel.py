"""The sum over a 3x3 convolution's taps on a GPU, with the bias and the ReLU in the same pass.

Neighbouring cells read the same products, most of them from the cache. Imported at the point of
use: not every machine has Triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# Output cells of one program. With all 256 channels of an ASPP branch these are eight values a
# thread, which it loads 16 bytes at a time.
BLOCK_CELLS = 4

# Triton would compile the kernel again whenever one of these becomes 1 or a multiple of 16, and a
# request would wait a second for it. Photos come in many sizes.
SIZES = ("cells", "height", "width", "dilation")


@triton.jit(do_not_specialize=SIZES)  # type: ignore[untyped-decorator]
def _tap_sum_kernel(  # type: ignore[no-untyped-def]
    products,
    bias,
    out,
    cells,
    height,
    width,
    dilation,
    channels: tl.constexpr,
    block_cells: tl.constexpr,
    block_channels: tl.constexpr,
):
    cell = tl.program_id(0) * block_cells + tl.arange(0, block_cells)[:, None]
    channel = tl.arange(0, block_channels)[None, :]
    row = (cell // width) % height
    column = cell % width
    exists = (cell < cells) & (channel < channels)

    total = tl.zeros((block_cells, block_channels), tl.float32)
    total += tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            down = (i - 1) * dilation
            across = (j - 1) * dilation
            y = row + down
            x = column + across
            inside = exists & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            source = (cell + down * width + across).to(tl.int64)  # products may exceed 2^31
            address = products + (source * 9 + 3 * i + j) * channels + channel
            total += tl.load(address, mask=inside, other=0.0).to(tl.float32)

    total = tl.where(total < 0, 0.0, total)  # the maximum of NaN and 0 would be 0
    target = out + cell.to(tl.int64) * channels + channel
    tl.store(target, total.to(out.dtype.element_ty), mask=exists)


def sum_taps(products: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """relu(bias + the sum of each cell's products): (B, H, W, 9, C), (C,) -> (B, H, W, C).

    products[b, y, x, 3 i + j] is the term of the input cell (y, x) and tap (i, j) in the output
    cell (y - (i - 1) dilation, x - (j - 1) dilation). Both tensors are contiguous, of any float
    type; the sum is in fp32, the output in the products' type.
    """
    batch, height, width, _, channels = products.shape
    out = products.new_empty((batch, height, width, channels))
    cells = batch * height * width
    with torch.cuda.device(products.device if products.is_cuda else -1):  # Triton uses the current
        _tap_sum_kernel[(triton.cdiv(cells, BLOCK_CELLS),)](
            products,
            bias,
            out,
            cells,
            height,
            width,
            dilation,
            channels=channels,
            block_cells=BLOCK_CELLS,
            block_channels=triton.next_power_of_2(channels),
        )
    return out

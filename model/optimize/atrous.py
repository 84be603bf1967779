"""An atrous 3x3 convolution as nine 1x1 products of shifted maps, where that is faster.

With a dilation near the map's size most taps of a 3x3 kernel read padding. Tap (i, j) is a product
of the map, shifted by that tap, with one (C_in, C_out) matrix; of the shifted map only the part
that stays inside is multiplied. On 65x65 cells that leaves 77, 57 and 40 % of the products at the
dilations 12, 24 and 36.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from model.deeplab_head import ASPP, ASPPConv, DeepLabHead

# Narrower maps gain nothing: 512 -> 256 channels, dilation 12, 45x60 cells take 3.9 ms in oneDNN,
# 5.5 ms as products. Without products a small network gives the same bits in every process.
MIN_CHANNELS = 1024

# The products have to be faster by this factor: below it the choice would be the clock's noise.
CLEARLY_FASTER = 1.25

TIMED_CALLS = 4  # of each candidate; the fastest counts, as the first is slow


class ShiftedConv(nn.Module):
    """relu(conv(x)) of an ungrouped 3x3 convolution with stride 1 that keeps the map's size.

    (B, C_in, H, W) -> (B, C_out, H, W), channels_last, in the convolution's dtype. The taps are
    summed in fp32.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.dilation = int(conv.dilation[0])
        # (3, 3, C_in, C_out): a matrix for each tap.
        self.taps = conv.weight.detach().permute(2, 3, 1, 0).contiguous()
        self.bias = (
            torch.zeros(conv.out_channels, device=conv.weight.device)
            if conv.bias is None
            else conv.bias.detach().float()
        )

    def forward(self, x: Tensor) -> Tensor:
        # One image at a time: the rows of several are not one matrix. Copied into one, four images
        # took 470 ms instead of 336 (2048 -> 256 channels, 65x65 cells, dilation 12).
        y = torch.stack([self.of_image(cells) for cells in x.permute(0, 2, 3, 1)])
        return y.permute(0, 3, 1, 2)

    def of_image(self, cells: Tensor) -> Tensor:
        """(H, W, C_in), contiguous where the batch is channels_last -> (H, W, C_out)."""
        height, width, channels = cells.shape
        total = self.bias.expand(height, width, -1).clone()
        for j, (to_columns, from_columns) in enumerate(overlaps(width, self.dilation)):
            # One copy for the three taps of this column: then their rows are plain matrices.
            columns = cells[:, from_columns].contiguous()
            for i, (to_rows, from_rows) in enumerate(overlaps(height, self.dilation)):
                window = columns[from_rows]
                product = window.reshape(-1, channels) @ self.taps[i, j]
                total[to_rows, to_columns] += product.view(*window.shape[:2], total.shape[-1])
        return total.relu_().to(cells.dtype)


def overlaps(length: int, shift: int) -> list[tuple[slice, slice]]:
    """For taps at -shift, 0 and +shift: (cells written, cells read) along one side of the map.

    Both slices are empty where a shift leaves the map.
    """
    inside = max(0, length - shift)
    return [
        (slice(length - inside, length), slice(0, inside)),
        (slice(0, length), slice(0, length)),
        (slice(0, inside), slice(length - inside, length)),
    ]


class AutotunedConv(nn.Module):
    """relu(conv(x)) in one of two ways: the first call times both and keeps the faster.

    The faster one depends on the processor and the dtype far more than on the map's size: with AMX
    and bf16, oneDNN's own kernel takes 102 to 243 ms and the products 14 to 20 (2048 -> 256
    channels, 65x65 cells, 2 cores); with AVX-512 alone oneDNN skips the padding and is faster. The
    first call should be of the usual size.
    """

    def __init__(self, plain: nn.Module, shifted: nn.Module) -> None:
        super().__init__()
        self.candidates = nn.ModuleList([plain, shifted])

    def forward(self, x: Tensor) -> Tensor:
        if len(self.candidates) > 1:
            plain, shifted = self.candidates
            faster = shifted if speedup(shifted, plain, x) >= CLEARLY_FASTER else plain
            self.candidates = nn.ModuleList([faster])
        y: Tensor = self.candidates[0](x)
        return y


def speedup(
    function: Callable[[Tensor], Tensor], baseline: Callable[[Tensor], Tensor], x: Tensor
) -> float:
    """The time of `baseline(x)` over that of `function(x)`, in interleaved runs on the CPU."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(TIMED_CALLS):
        for candidate, seconds in zip((function, baseline), times):
            started = time.perf_counter()
            candidate(x)
            seconds.append(time.perf_counter() - started)
    return min(times[1]) / min(times[0])


def enable_shifted_matmul(head: DeepLabHead) -> None:
    """Make each wide atrous branch of the head an AutotunedConv, in place.

    Batch norms must be folded already, and the weights in the dtype they stay in.
    """
    pyramid = head[0]
    assert isinstance(pyramid, ASPP)
    for index, branch, conv in wide_branches(pyramid):
        pyramid.convs[index] = AutotunedConv(branch, ShiftedConv(conv))


def wide_branches(pyramid: ASPP) -> list[tuple[int, ASPPConv, nn.Conv2d]]:
    """Index, branch and convolution of each atrous branch of MIN_CHANNELS or more."""
    branches = [(i, b, b[0]) for i, b in enumerate(pyramid.convs) if isinstance(b, ASPPConv)]
    return [
        (index, branch, conv)
        for index, branch, conv in branches
        if isinstance(conv, nn.Conv2d) and conv.in_channels >= MIN_CHANNELS
    ]

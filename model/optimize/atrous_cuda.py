"""An atrous 3x3 convolution on an NVIDIA GPU, as one matrix product and a sum over the taps.

cuDNN has no dilated convolution for Hopper's tensor cores: it runs a kernel made for Ampere, and
the pyramid's three branches take a third of the forward (2048 -> 256 channels, 65x65 cells, bf16,
H100: 250 TFLOP/s at batch 1, 390 at batch 8). The same map times the matrices of all nine taps is
one product of 2304 columns, at 740 and 770 TFLOP/s. A kernel then sums, for each output cell, the
products of its nine taps. A branch takes 57 instead of 162 us at batch 1, 474 instead of 779 at
batch 8 (means of the three, H200; benchmarks/gpu.md).
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from model.deeplab_head import ASPP, ASPPConv, DeepLabHead
from model.optimize.atrous import wide_branches
from model.optimize.equivalence import relative_difference

logger = logging.getLogger(__name__)

# The first compute capability whose tensor cores cuDNN's dilated kernels leave idle (Hopper). On
# Ampere (8.x) they are native; whether the product gains there has not been measured.
MIN_CAPABILITY = (9, 0)

# Cells along a side of the map in the comparison: 520 px at output stride 8.
TYPICAL_CELLS = 65

# Tolerance of the output, as a share of its norm. Rounding the nine products to bf16 is off
# by 0.004, a tap in the wrong place by more than 0.3.
LARGEST_DIFFERENCE = 0.02


class TapProductConv(nn.Module):
    """relu(conv(x)) of an ungrouped 3x3 convolution with a bias that keeps the map's size.

    (B, C_in, H, W) -> (B, C_out, H, W), channels_last, in the convolution's dtype. The products are
    rounded to that dtype, and summed in fp32. They take nine times the output's memory.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.dilation = int(conv.dilation[0])
        self.taps: Tensor
        self.bias: Tensor
        # (C_in, 3 * 3 * C_out): a column for each tap and output channel.
        taps = conv.weight.detach().permute(1, 2, 3, 0).reshape(conv.in_channels, -1)
        self.register_buffer("taps", taps.contiguous())
        self.register_buffer("bias", conv.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        from model.optimize.tap_sum_kernel import sum_taps

        batch, channels, height, width = x.shape
        products = x.permute(0, 2, 3, 1).reshape(-1, channels) @ self.taps
        y = sum_taps(products.view(batch, height, width, 9, -1), self.bias, self.dilation)
        return y.permute(0, 3, 1, 2)


def use_tap_products(head: DeepLabHead) -> None:
    """Replace wide atrous branches by products, in place, where these give the same output.

    Batch norms must be folded already; the head is on the GPU, in the dtype it is served in.
    """
    pyramid = head[0]
    assert isinstance(pyramid, ASPP)
    for index, branch, conv in wide_branches(pyramid):
        if gains(conv):
            replacement = TapProductConv(conv)
            if is_equivalent(replacement, branch, conv):
                pyramid.convs[index] = replacement


def gains(conv: nn.Conv2d) -> bool:
    """Whether the product of a wide map is expected to be faster.

    In fp32, cuDNN multiplies in TF32, and matrix products do not.
    """
    if conv.weight.dtype == torch.float32:
        return False
    return torch.cuda.get_device_capability(conv.weight.device) >= MIN_CAPABILITY


def is_equivalent(products: TapProductConv, branch: ASPPConv, conv: nn.Conv2d) -> bool:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, conv.in_channels, TYPICAL_CELLS, TYPICAL_CELLS, generator=generator).relu_()
    x = x.to(conv.weight).to(memory_format=torch.channels_last)
    try:
        difference = relative_difference(products, branch, x)
    except FloatingPointError as error:
        logger.warning("an atrous convolution stays cuDNN's: %s", error)
        return False
    except Exception as error:  # no Triton, no C compiler, a GPU it does not know
        logger.warning("the atrous convolutions stay cuDNN's, as Triton fails: %r", error)
        return False
    if not difference <= LARGEST_DIFFERENCE:  # NaN is not
        logger.warning("an atrous convolution stays cuDNN's: products are off by %.3f", difference)
        return False
    return True

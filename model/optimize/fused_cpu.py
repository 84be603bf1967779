"""Convolutions on the CPU that add the shortcut and apply the ReLU while they write their result.

A residual block's sum and its ReLUs are passes over whole maps that compute almost nothing. oneDNN
does them on the values that a convolution is about to store, and takes weights in the blocked
layout its kernels read. PyTorch has both as the operators that TorchInductor emits for the CPU.
They are private: `can_fuse` tries them first, and the network works without them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from model.optimize.residual import ResidualBlock

# Side of the map that weights are laid out for, in cells: 520 px at output stride 8. At other
# sizes the same weights give the same result; oneDNN may then reorder them on each call.
TYPICAL_CELLS = 65


class FusedConv(nn.Module):
    """relu(conv(x)), or relu(conv(x) + shortcut); without the ReLU if `relu` is false.

    (B, C_in, H, W) -> (B, C_out, h, w), channels_last, in the convolution's dtype. The sum is
    written into `shortcut`.
    """

    def __init__(self, conv: nn.Conv2d, relu: bool) -> None:
        super().__init__()
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.relu = relu
        self.weight: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            conv.weight.detach(),
            *self.geometry,
            (1, conv.in_channels, TYPICAL_CELLS, TYPICAL_CELLS),
        )
        self.bias = None if conv.bias is None else conv.bias.detach()

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        operators, inputs = torch.ops.mkldnn, (x, self.weight, self.bias, *self.geometry)
        if shortcut is None:
            activation = "relu" if self.relu else "none"
            y: Tensor = operators._convolution_pointwise(*inputs, activation, [], "")
            return y
        unary = "relu" if self.relu else None
        operators._convolution_pointwise_.binary(shortcut, *inputs, "add", 1.0, unary, [], None)
        return shortcut


class FusedBlock(ResidualBlock):
    """A residual block of folded convolutions. Overwrites its input."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        convs = [child for child in block.children() if isinstance(child, nn.Conv2d)]
        *first, last = (FusedConv(conv, relu=True) for conv in convs)
        shortcut = None
        if block.downsample is not None:
            conv = block.downsample[0]
            assert isinstance(conv, nn.Conv2d)
            shortcut = FusedConv(conv, relu=False)
        super().__init__(first, last, shortcut)


def can_fuse(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has the operators for this dtype, and they work on this processor."""
    conv = nn.Conv2d(16, 16, 1).to(dtype)
    x = torch.ones(1, 16, 2, 2, dtype=dtype).to(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            return bool(FusedConv(conv, relu=True)(x, x.clone()).isfinite().all())
    except (AttributeError, RuntimeError, TypeError):
        return False


def fuse_convolutions(module: nn.Module) -> None:
    """Replace each convolution, with the ReLU and the sum after it, by a FusedConv, in place.

    Batch norms must be folded already. Modules other than residual blocks must be `Sequential`,
    with nothing between a convolution and its ReLU.
    """
    previous: str | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Identity):  # a folded batch norm
            continue
        if isinstance(child, nn.ReLU) and previous is not None:
            fused = getattr(module, previous)
            if isinstance(fused, FusedConv):
                fused.relu = True
                setattr(module, name, nn.Identity())
        elif isinstance(child, (BasicBlock, Bottleneck)):
            setattr(module, name, FusedBlock(child))
        elif isinstance(child, nn.Conv2d):
            setattr(module, name, FusedConv(child, relu=False))
        else:
            fuse_convolutions(child)
        previous = name

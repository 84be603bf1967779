"""Convolutions of uint8 maps with int8 weights: oneDNN's, and the plain twin they are held to.

Post-training static quantisation (Jacob et al. 2018, https://arxiv.org/abs/1712.05877): a scale for
each map and for each output channel of the weights. oneDNN sums products exactly in 32 bits, and
adds the bias and the shortcut, applies the ReLU and rounds while it writes a result. PyTorch has it
as the operators that TorchInductor emits for the CPU. They are private: `can_quantize` tries them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from model.optimize.fused_cpu import TYPICAL_CELLS

HIGHEST = 255  # of uint8
LARGEST_WEIGHT = 127  # of int8, leaving out -128, so that a weight and its negative are both there

PROBE_CHANNELS = 32  # of `can_quantize`: kernels differ for fewer than 16


@dataclass(frozen=True)
class Quantization:
    """How uint8 stands for real numbers: q for (q - zero_point) * scale."""

    scale: float
    zero_point: int = 0

    @classmethod
    def positive(cls, largest: float) -> Quantization:
        """For numbers from 0 to `largest`, such as a ReLU's output."""
        return cls(largest / HIGHEST)

    @classmethod
    def signed(cls, largest: float) -> Quantization:
        """For numbers from -`largest` to `largest`."""
        return cls(largest / 127, zero_point=128)

    def quantize(self, x: Tensor) -> Tensor:
        """Numbers of any shape, rounded to uint8; those outside the range become its ends."""
        steps = (x.float() / self.scale).round_().add_(self.zero_point)
        return steps.clamp_(0, HIGHEST).to(torch.uint8)

    def dequantize(self, steps: Tensor) -> Tensor:
        """uint8 of any shape -> fp32."""
        return (steps.float() - self.zero_point) * self.scale


class QuantizedConv(nn.Module):
    """relu(conv(x)) or relu(conv(x) + shortcut) of uint8 maps; without the ReLU if `relu` is false.

    uint8 (B, C_in, H, W) as `source` says -> uint8 (B, C_out, h, w) as `target` says, or fp32 where
    that is None; channels_last. The shortcut, uint8 (B, C_out, h, w) as `shortcut` says, may be
    overwritten. Subclasses say how it is computed.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        source: Quantization,
        target: Quantization | None,
        *,
        shortcut: Quantization | None = None,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.source, self.target, self.shortcut, self.relu = source, target, shortcut, relu
        self.geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)
        self.bias = None if conv.bias is None else conv.bias.detach().float()
        self.pack(*quantized_weight(conv))

    def pack(self, weight: Tensor, scales: Tensor) -> None:
        """Keep the weights, int8 (C_out, C_in / groups, k, k), and their scales, fp32 (C_out,)."""
        raise NotImplementedError

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class PlainQuantizedConv(QuantizedConv):
    """The plain twin: the same numbers in fp32, step by step."""

    def pack(self, weight: Tensor, scales: Tensor) -> None:
        self.weight = weight.float() * scales.view(-1, 1, 1, 1)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        stride, padding, dilation, groups = self.geometry
        x = self.source.dequantize(x)
        y = conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        if shortcut is not None:
            assert self.shortcut is not None
            y += self.shortcut.dequantize(shortcut)
        if self.relu:
            y = y.relu()
        y = y.contiguous(memory_format=torch.channels_last)
        return y if self.target is None else self.target.quantize(y)


class FusedQuantizedConv(QuantizedConv):
    """oneDNN's convolution: one call, in which nothing but the result is written."""

    def pack(self, weight: Tensor, scales: Tensor) -> None:
        channels = weight.shape[1] * self.geometry[3]
        self.scales = scales
        self.zero_points = torch.zeros(len(scales), dtype=torch.int32)
        self.weight: Tensor = torch.ops.onednn.qconv_prepack(
            weight,
            scales,
            self.source.scale,
            self.source.zero_point,
            *self.geometry,
            [1, channels, TYPICAL_CELLS, TYPICAL_CELLS],
        )

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        operator = torch.ops.onednn.qconv2d_pointwise
        source = (x, self.source.scale, self.source.zero_point)
        weight = (self.weight, self.scales, self.zero_points)
        if self.target is None:
            output = (1.0, 0, torch.float32)
        else:
            output = (self.target.scale, self.target.zero_point, torch.uint8)
        y: Tensor
        if shortcut is None:
            relu = "relu" if self.relu else "none"
            y = operator.default(*source, *weight, self.bias, *self.geometry, *output, relu, [], "")
        else:
            assert self.shortcut is not None
            added = (self.shortcut.scale, self.shortcut.zero_point, "sum", 1.0)
            y = operator.binary(
                *source,
                *weight,
                shortcut,
                self.bias,
                *self.geometry,
                *output,
                *added,
                "relu" if self.relu else None,
                [],
                "",
            )
        return y


def quantized_weight(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """int8 weights of the convolution's shape and fp32 scales (C_out,), one per output channel."""
    weight = conv.weight.detach().float()
    largest = weight.abs().amax((1, 2, 3))
    scales = torch.where(largest > 0, largest, torch.ones_like(largest)) / LARGEST_WEIGHT
    steps = (weight / scales.view(-1, 1, 1, 1)).round_()
    return steps.clamp_(-LARGEST_WEIGHT, LARGEST_WEIGHT).to(torch.int8), scales


def fastest_convolution() -> type[QuantizedConv]:
    """oneDNN's convolutions where they work, else their plain twins: nearly the same numbers."""
    return FusedQuantizedConv if can_quantize() else PlainQuantizedConv


def can_quantize() -> bool:
    """Whether this PyTorch has the operators, and they are right on this processor."""
    try:
        with torch.inference_mode():
            return all(is_right(conv, shortcut) for conv in probes() for shortcut in (False, True))
    except (AttributeError, RuntimeError, TypeError):
        return False


def probes() -> list[nn.Conv2d]:
    """Convolutions of PROBE_CHANNELS with what a network needs: dilation, groups, bias.

    Half of their outputs are sums of the largest products. Before VNNI, x86 added pairs of
    products in 16 bits, and these overflow: 255 * 127 * 2 > 32767.
    """
    generator = torch.Generator().manual_seed(0)
    convs = []
    for groups in (1, 4):
        conv = nn.Conv2d(
            PROBE_CHANNELS, PROBE_CHANNELS, 3, padding=2, dilation=2, groups=groups
        ).requires_grad_(False)
        conv.weight.uniform_(-1, 1, generator=generator)
        conv.weight[: PROBE_CHANNELS // 2] = 1
        convs.append(conv)
    return convs


def is_right(conv: nn.Conv2d, with_shortcut: bool) -> bool:
    """Whether oneDNN's convolution gives what its plain twin gives, up to one step of rounding.

    With a shortcut the output is uint8, without one fp32.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (1, PROBE_CHANNELS, 9, 9)
    maps = [
        torch.randint(200, 256, shape, dtype=torch.uint8, generator=generator).contiguous(
            memory_format=torch.channels_last
        )
        for _ in range(2 if with_shortcut else 1)
    ]
    source, added = Quantization.positive(1), Quantization.signed(PROBE_CHANNELS)
    target = Quantization.positive(9 * PROBE_CHANNELS) if with_shortcut else None
    exact, fast = (
        kind(conv, source, target, shortcut=added)(*(map_.clone() for map_ in maps)).double()
        for kind in (PlainQuantizedConv, FusedQuantizedConv)
    )
    largest_difference = 1.0 if with_shortcut else 1e-4 * float(exact.abs().max())
    return bool((fast - exact).abs().max() <= largest_difference)

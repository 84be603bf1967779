"""A trained segmenter optimised for inference, one small step at a time.

`optimize_for_inference` returns a network with the same input and output. The plain network stays
unchanged: tests compare the fast one with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from model.optimize.atrous import enable_shifted_matmul
from model.optimize.atrous_cuda import use_tap_products
from model.optimize.cuda_graphs import CUDAGraphRunner
from model.optimize.fold import folded
from model.optimize.fused_cpu import can_fuse, fuse_convolutions
from model.optimize.fused_cuda import fuse_if_equivalent
from model.optimize.image_level import replace_image_level
from model.optimize.precision import PRECISIONS, choose_precision, fast_precision
from model.optimize.quantized import quantized
from model.optimize.quantized_conv import fastest_convolution
from model.segmenter import Segmenter


class InferenceSegmenter(nn.Module):
    """A segmenter ready to serve: (B, 3, H, W) float on any device -> (B, num_classes, h, w) fp32.

    Input is converted here to the device, dtype and memory layout of the network's first layer:
    callers need not know them.
    """

    def __init__(self, net: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.net = net
        self.device = device
        self.dtype = dtype

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.device, self.dtype, memory_format=torch.channels_last)
        logits: Tensor = self.net(x)
        return logits.float()


class PixelSegmenter(nn.Module):
    """Pixels to logits: uint8 (B, 3, H, W) RGB on any device -> (B, num_classes, h, w) fp32.

    Pixels are moved as bytes, a quarter of what floats would take, and normalised on the device:
    scaled to [0, 1], less `mean`, over `std`, both of three channels in that scale.
    """

    def __init__(
        self, segmenter: InferenceSegmenter, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.mean: Tensor
        self.std: Tensor
        # Buffers: made in each forward they would be blocking copies to the GPU.
        self.register_buffer("mean", torch.tensor(mean, device=segmenter.device).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std, device=segmenter.device).view(3, 1, 1))

    @torch.inference_mode()
    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.to(self.mean.device).float()
        logits: Tensor = self.segmenter((x / 255 - self.mean) / self.std)
        return logits


def optimize_for_pixels(
    net: Segmenter,
    mean: Sequence[float],
    std: Sequence[float],
    device: str | torch.device = "cpu",
    precision: str = "auto",
    calibration: Mapping[str, float] | None = None,
) -> nn.Module:
    """`optimize_for_inference` that reads pixels and normalises them.

    The result takes uint8 (B, 3, H, W) RGB on any device. `mean` and `std` are those that the
    weights were trained with, one for each channel, of values in 0..1.
    """
    segmenter = optimized_segmenter(net, device, precision, calibration)
    pixels = PixelSegmenter(segmenter, mean, std).eval()
    return with_graphs(pixels, segmenter.device, torch.uint8)


def optimize_for_inference(
    net: Segmenter,
    device: str | torch.device = "cpu",
    precision: str = "auto",
    calibration: Mapping[str, float] | None = None,
) -> nn.Module:
    """A copy of `net` that gives the same logits faster, on `device`, for evaluation only.

    `precision` is "fp32", "bf16", "fp16", "int8" with a `calibration` of `net` (see
    `model.calibrate`), or "auto": what the hardware multiplies fastest (see `choose_precision`). In
    fp32 the logits agree with the plain network's within 1e-4 relative; on GPUs as far as cuDNN's
    TF32 allows. ValueError names an unknown precision, and a calibration that is missing or does
    not fit.

    Measured and left out (ResNet-50, 520x520, AVX512-BF16). The pyramid's projection without its
    concatenation, as a sum of products with the image level as their bias, saves 4 of 660 ms, and
    would round to bf16 between the products. Winograd's 3x3 convolutions (Lavin and Gray, 2015,
    F(4x4, 3x3)), with their transforms as tensor operations, halve layer4's first one in fp32 (90
    -> 43 ms) and gain 10 % or lose elsewhere: 80 of 1370 ms in all. bf16 would gain less:
    only the products get faster with it.
    """
    segmenter = optimized_segmenter(net, device, precision, calibration)
    return with_graphs(segmenter, segmenter.device, torch.float32)


def optimized_segmenter(
    net: Segmenter,
    device: str | torch.device,
    precision: str,
    calibration: Mapping[str, float] | None,
) -> InferenceSegmenter:
    """A copy of `net`, optimised layer by layer; see `optimize_for_inference`."""
    device = torch.device(device)
    precision = choose_precision(precision, device, calibration is not None)
    if precision == "int8":
        assert calibration is not None
        return int8_segmenter(net, device, calibration)
    dtype = PRECISIONS[precision]
    served = folded(net, device, dtype)
    replace_image_level(served.classifier)
    if device.type == "cuda":
        use_tap_products(served.classifier)
        served = fuse_if_equivalent(served)
    elif device.type == "cpu":
        enable_shifted_matmul(served.classifier)
        if can_fuse(dtype):
            fuse_convolutions(served)
    return InferenceSegmenter(served, device, dtype).eval()


def int8_segmenter(
    net: Segmenter, device: torch.device, calibration: Mapping[str, float]
) -> InferenceSegmenter:
    """A quantised copy of `net`, whose first layer is in the fastest of the other precisions."""
    dtype = PRECISIONS[fast_precision(device)]
    plain = folded(net, device, torch.float32)
    served = quantized(plain, calibration, fastest_convolution(), dtype)
    return InferenceSegmenter(served, device, dtype).eval()


def with_graphs(net: nn.Module, device: torch.device, input_dtype: torch.dtype) -> nn.Module:
    """`net` behind CUDA graphs where the device has them."""
    return CUDAGraphRunner(net, device, input_dtype) if device.type == "cuda" else net

"""What makes a trained segmenter fast to serve, one small step at a time.

`optimize_for_inference` returns a network with the same call and the same shapes. The plain
network stays as it is: it is what the tests hold the fast one against.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.optimize.atrous import offer_shifts
from model.optimize.cuda_graphs import Replayed
from model.optimize.fused_cpu import can_fuse, fuse_convolutions
from model.optimize.image_level import replace_image_level
from model.segmenter import Segmenter

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class InferenceSegmenter(nn.Module):
    """A segmenter ready to serve: (B, 3, H, W) float on any device -> (B, num_classes, h, w) fp32.

    Input is moved to the network's device, precision and memory layout here, so that callers
    need not know them.
    """

    def __init__(self, segmenter: Segmenter, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.backbone = segmenter.backbone
        self.classifier = segmenter.classifier
        self.device = device
        self.dtype = dtype

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.device, self.dtype, memory_format=torch.channels_last)
        logits: Tensor = self.classifier(self.backbone(x))
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
        # Buffers, so that no forward makes them anew: on a GPU that is a blocking copy each.
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
) -> nn.Module:
    """`optimize_for_inference(net, device, precision)` that reads pixels and normalises them.

    The result takes uint8 (B, 3, H, W) RGB on any device. `mean` and `std` are those that the
    weights were trained with, one for each channel, of values in 0..1.
    """
    segmenter = optimized_segmenter(net, device, precision)
    return with_graphs(PixelSegmenter(segmenter, mean, std).eval(), segmenter.device)


def optimize_for_inference(
    net: Segmenter, device: str | torch.device = "cpu", precision: str = "auto"
) -> nn.Module:
    """A copy of `net` that gives the same logits faster, on `device`, for evaluation only.

    `precision` is "fp32", "bf16", or "auto": bf16 where the hardware multiplies it faster than
    fp32 (see `fast_precision`). In fp32 the logits agree within 1e-4 relative of the plain
    network; on GPUs as far as cuDNN's TF32 allows.

    Measured and left out (ResNet-50, 520x520, AVX512-BF16). The pyramid's projection without its
    concatenation, as a sum of products with the image level as their bias, saves 4 of 660 ms, and
    would round to bf16 between the products. Winograd's 3x3 convolutions (Lavin and Gray, 2015,
    F(4x4, 3x3)), with their transforms as tensor operations, halve layer4's first one in fp32 (90
    -> 43 ms) and gain 10 % or lose elsewhere: 80 of 1370 ms in all. bf16 would gain less:
    only the products get faster with it.
    """
    segmenter = optimized_segmenter(net, device, precision)
    return with_graphs(segmenter, segmenter.device)


def optimized_segmenter(
    net: Segmenter, device: str | torch.device, precision: str
) -> InferenceSegmenter:
    """A copy of `net`, optimised layer by layer; see `optimize_for_inference`."""
    device = torch.device(device)
    if precision == "auto":
        precision = fast_precision(device)
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; expected 'auto', 'fp32' or 'bf16'")
    dtype = PRECISIONS[precision]

    served = copy.deepcopy(net).eval().requires_grad_(False)
    served.float()  # batch norms are folded in fp32, whatever the weights came in
    served.aux_classifier = None  # the auxiliary head only helps training: 20 of 357 GFLOP at 520
    fold_batch_norms(served)
    # Convolutions read channels_last maps without reordering them on every call.
    served.to(device, dtype).to(memory_format=torch.channels_last)
    offer_shifts(served.classifier)
    replace_image_level(served.classifier)
    if can_fuse(device, dtype):
        fuse_convolutions(served)
    return InferenceSegmenter(served, device, dtype).eval()


def with_graphs(net: nn.Module, device: torch.device) -> nn.Module:
    """`net` behind CUDA graphs where the device has them."""
    return Replayed(net, device) if device.type == "cuda" else net


def fast_precision(device: torch.device) -> str:
    """ "bf16" where the device has instructions that multiply it faster than fp32, else "fp32".

    On x86 these are AMX tiles and AVX512-BF16; on NVIDIA GPUs, compute capability 8.0 and later.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type == "cpu":
        # Private names, in torch since 2.6; without them it is fp32, which is right anywhere.
        probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        if any(getattr(torch.cpu, probe, bool)() for probe in probes):
            return "bf16"
    return "fp32"


def fold_batch_norms(module: nn.Module) -> None:
    """Fold, in place, each batch norm into the convolution before it; identities take their place.

    y = gamma * (conv(x) - mean) / sqrt(var + eps) + beta is itself a convolution with a bias.
    Batch norms are found where torchvision puts them: after their convolution in a `Sequential`,
    or as `bnN` beside `convN` in a residual block.
    """
    children = dict(module.named_children())
    previous: str | None = None
    for name, child in children.items():
        conv = children.get(previous) if previous is not None else None
        if isinstance(child, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d):
            setattr(module, str(previous), fuse_conv_bn_eval(conv, child))
            setattr(module, name, nn.Identity())
        fold_batch_norms(child)
        previous = name

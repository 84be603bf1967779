"""Which layers of a network lose most in int8: each is quantised alone, the others stay in fp32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from tqdm import tqdm

from model.optimize.fold import folded
from model.optimize.quantized_conv import Quantization, quantized_weight
from model.optimize.quantized_maps import block_convs, quantizations, stored_maps
from model.segmenter import Segmenter


@torch.inference_mode()
def layer_losses(
    net: Segmenter, calibration: Mapping[str, float], image: Tensor
) -> dict[str, float]:
    """How far a layer's quantisation moves the logits of `image` (1, 3, H, W); largest first.

    The norm of the difference as a share of that of the logits, by the layer's name. A layer is a
    convolution with the map that it writes.
    """
    plain = folded(net, torch.device("cpu"), torch.float32)
    image = image.contiguous(memory_format=torch.channels_last)
    expected = plain(image)
    maps = quantizations(plain, calibration)
    losses = {}
    for name, module in tqdm(stored_maps(plain).items(), "layers", leave=False, unit="layer"):
        with one_quantized(module, maps[module]):
            losses[name] = float((plain(image) - expected).norm() / expected.norm())
    return dict(sorted(losses.items(), key=lambda item: -item[1]))


@contextmanager
def one_quantized(module: nn.Module, quantization: Quantization) -> Iterator[None]:
    """Within the block, the module's map and the weights that write it are quantised."""
    hook = module.register_forward_hook(
        lambda _, __, output: quantization.dequantize(quantization.quantize(output))
    )
    conv = writing_conv(module)
    weight = None if conv is None else conv.weight.data
    if conv is not None:
        steps, scales = quantized_weight(conv)
        conv.weight.data = steps.float() * scales.view(-1, 1, 1, 1)
    try:
        yield
    finally:
        hook.remove()
        if conv is not None and weight is not None:
            conv.weight.data = weight


def writing_conv(module: nn.Module) -> nn.Conv2d | None:
    """The convolution that writes a stored map; None for the stem's, which stays in float."""
    if isinstance(module, nn.MaxPool2d):
        return None
    if isinstance(module, (BasicBlock, Bottleneck)):
        return block_convs(module)[-1]
    return next(layer for layer in module.modules() if isinstance(layer, nn.Conv2d))

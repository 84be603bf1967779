"""The int8 contenders: ours, its convolutions alone, and OpenVINO's by NNCF."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from model import calibrate, optimize_for_inference
from model.optimize.fused_cpu import FusedConv
from model.optimize.quantized_conv import QuantizedConv, can_quantize
from model.segmenter import Segmenter
from scripts.bench.timing import Workload

if TYPE_CHECKING:
    import openvino  # type: ignore[import-not-found, unused-ignore]


def int8_tasks(net: Segmenter, image: Tensor) -> dict[str, Workload]:
    """Ours, calibrated with the image (1, 3, H, W); nothing where int8 does not work."""
    if not can_quantize():
        return {}
    fast = optimize_for_inference(net, "cpu", "int8", calibrate(net, [image]))
    return {
        "ours, int8": partial(fast, image),
        "ours, int8: its convolutions alone": convolutions_alone(fast, image),
    }


def convolutions_alone(net: nn.Module, image: Tensor) -> Workload:
    """All convolutions of a forward, one after the other, each on what it read there.

    Each is served from colder caches than in the network, where its input was just written.
    """
    calls: list[tuple[nn.Module, tuple[Tensor, ...]]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls.append((module, tuple(map(torch.clone, inputs))))

    kinds = (QuantizedConv, FusedConv, nn.Conv2d)
    hooks = [m.register_forward_pre_hook(note) for m in net.modules() if isinstance(m, kinds)]
    net(image)
    for hook in hooks:
        hook.remove()

    def run() -> None:
        for module, inputs in calls:
            module(*inputs)

    return run


def openvino_int8_tasks(
    converted: openvino.Model, image: Tensor, threads: int
) -> dict[str, Workload]:
    """OpenVINO's network after NNCF's post-training quantisation, calibrated with the image."""
    if not find_spec("nncf"):
        return {}
    import nncf  # type: ignore[import-not-found, unused-ignore]
    import openvino

    quantized = nncf.quantize(converted, nncf.Dataset([image.numpy()]), subset_size=1)
    compiled = openvino.compile_model(quantized, "CPU", {"INFERENCE_NUM_THREADS": threads})
    return {"OpenVINO, int8 (NNCF)": partial(compiled, image.numpy())}

"""The network alone: matrix products, which bound it, and the forward pass of each contender."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from model import optimize_for_inference
from model.optimize.precision import fast_precision
from model.preset import Preset
from scripts.archive.build import untrained
from scripts.bench.baselines import torchvision_network
from scripts.bench.int8 import int8_tasks, openvino_int8_tasks
from scripts.bench.timing import Timing, Workload, time_interleaved

GEMM_SIDE = 4096  # of the square matrices: large enough to reach the processor's peak rate


def matmul_timings(rounds: int) -> Iterator[Timing]:
    """How fast this machine multiplies matrices; the contender's name has the TFLOP/s."""
    operations = 2 * GEMM_SIDE**3
    a = torch.randn(GEMM_SIDE, GEMM_SIDE)
    tasks: dict[str, Workload] = {
        str(dtype).split(".")[1]: partial(torch.mm, a.to(dtype), a.to(dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    for timing in time_interleaved(f"product of {GEMM_SIDE}x{GEMM_SIDE}", tasks, rounds):
        rate = operations / timing.milliseconds / 1e9
        yield replace(timing, contender=f"{timing.contender}: {rate:.2f} TFLOP/s")


def forward_timings(preset: Preset, state: dict[str, Tensor], rounds: int) -> Iterator[Timing]:
    """From a normalised photo to logits, at the preset's size, with the weights `state`."""
    side = preset.short_side
    image = torch.randn(1, 3, side, side)
    plain = torchvision_network(preset, state)
    bf16 = torchvision_network(preset, state).bfloat16().to(memory_format=torch.channels_last)
    bf16_image = image.bfloat16().to(memory_format=torch.channels_last)
    served = untrained(preset)
    served.load_state_dict(state)
    tasks: dict[str, Workload] = {
        "torchvision, eager fp32": partial(plain, image),
        "torchvision, eager bf16, channels_last": partial(bf16, bf16_image),
        **{
            f"ours, {precision}": partial(optimize_for_inference(served, "cpu", precision), image)
            for precision in dict.fromkeys(("fp32", fast_precision(torch.device("cpu"))))
        },
        **int8_tasks(served, image),
    }
    if find_spec("openvino"):
        tasks |= openvino_tasks(plain, image)
    with torch.inference_mode():
        yield from time_interleaved(f"forward, {preset.backbone}, {side}x{side}", tasks, rounds)


def openvino_tasks(net: nn.Module, image: Tensor) -> dict[str, Workload]:
    """The same network compiled by OpenVINO, which is not among our requirements."""
    import openvino  # type: ignore[import-not-found, unused-ignore]

    class MainOutput(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.net(x)["out"]
            return logits

    converted = openvino.convert_model(MainOutput().eval(), example_input=image)
    threads = torch.get_num_threads()
    tasks: dict[str, Workload] = {}
    for precision in ("f32", "bf16"):
        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.compile_model(converted, "CPU", hints)
        tasks[f"OpenVINO, {precision}"] = partial(compiled, image.numpy())
    return tasks | openvino_int8_tasks(converted, image, threads)

"""Single convolutions of the network on a GPU: the fast kernels against the plain ones.

Each is timed in a CUDA graph of several calls, where its launch does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from model import build_segmenter
from model.optimize.atrous_cuda import TapProductConv
from model.optimize.fold import folded
from model.optimize.fused_cuda import FusedConv
from scripts.bench.gpu import Size, median_seconds, synchronize

Row = dict[str, object]  # of a JSON file
Task = Callable[[], Tensor]

GRAPHED_CALLS = 20  # of one convolution in a graph


@dataclass(frozen=True)
class Layer:
    """A convolution of the network, the operation after it and the size of its input."""

    conv: nn.Conv2d
    then: str  # "relu", "add_relu", or "" for nothing
    size: Size


def layers_of(network: str, size: Size) -> list[tuple[Layer, int]]:
    """The distinct convolutions of a network on images of `size`, and how often each comes."""
    meta = torch.device("meta")
    net = folded(build_segmenter(network), meta, torch.bfloat16)
    layers: dict[tuple[object, ...], tuple[Layer, int]] = {}

    def record(name: str, conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(conv, nn.Conv2d)
        last = "conv3" if "layer1.0.conv3" in names else "conv2"
        then = "add_relu" if name.endswith(last) else "relu"
        if "downsample" in name or name == "classifier.4":
            then = ""
        height, width = inputs[0].shape[-2:]
        key = (conv.weight.shape, conv.stride, conv.dilation, conv.groups, then, height, width)
        layer, count = layers.get(key, (Layer(conv, then, (height, width)), 0))
        layers[key] = (layer, count + 1)

    names = " ".join(name for name, _ in net.named_modules())
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(partial(record, name))
    net(torch.empty(1, 3, *size, dtype=torch.bfloat16, device=meta))
    return list(layers.values())


def convolutions(network: str, size: Size, device: torch.device) -> Iterator[Row]:
    """Each convolution of the network with its ReLU and its sum: fused against plain.

    Where an operator does not exist on the device, the row has its error.
    """
    generator = torch.Generator(device).manual_seed(0)

    def noise(*shape: int, scale: float = 1.0) -> Tensor:
        x = torch.randn(shape, generator=generator, device=device) * scale
        x = x.bfloat16()
        return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x

    for batch in (1, 8):
        for layer, count in layers_of(network, size):
            conv, (height, width) = layer.conv, layer.size
            x = noise(batch, conv.in_channels, height, width)
            weight = noise(*conv.weight.shape, scale=conv.weight[0].numel() ** -0.5)
            bias = noise(conv.out_channels)
            geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)
            y = conv2d(x, weight, bias, *geometry)  # type: ignore[arg-type]
            z = noise(*y.shape)
            tasks = tasks_of(layer.then, x, weight, bias, z, geometry)
            multiplications = weight.numel() * y.shape[0] * y.shape[2] * y.shape[3]
            shape = f"{tuple(weight.shape)} {geometry} {layer.then} on {height}x{width}"
            row: Row = {"batch": batch, "convolution": shape, "count": count}
            expected = tasks["plain"]()
            for name, task in tasks.items():
                try:
                    poison(expected)
                    row[f"{name}_off_by"] = relative(task(), expected)
                    seconds = graphed_seconds(task, device)
                    row[f"{name}_us"] = round(seconds * 1e6, 2)
                    row[f"{name}_tflops"] = round(2 * multiplications / seconds / 1e12, 1)
                except (AttributeError, RuntimeError) as error:
                    row[f"{name}_error"] = str(error)[:200]
            yield row


def tasks_of(
    then: str, x: Tensor, weight: Tensor, bias: Tensor, z: Tensor, geometry: tuple[object, ...]
) -> dict[str, Task]:
    """Ways to compute a convolution and the operation after it, by name; the first defines it."""
    plain: Callable[..., Tensor] = conv2d
    tasks: dict[str, Task] = {}
    if then == "":
        tasks["plain"] = lambda: plain(x, weight, bias, *geometry)
        tasks["no_bias"] = lambda: plain(x, weight, None, *geometry)
    elif then == "relu":
        relu: Callable[..., Tensor] = torch.cudnn_convolution_relu
        tasks["plain"] = lambda: plain(x, weight, bias, *geometry).relu_()
        tasks["cudnn"] = lambda: relu(x, weight, bias, *geometry)
        tasks["no_bias"] = lambda: plain(x, weight, None, *geometry)
    else:
        add_relu: Callable[..., Tensor] = torch.cudnn_convolution_add_relu
        tasks["plain"] = lambda: plain(x, weight, bias, *geometry).add_(z).relu_()
        tasks["cudnn"] = lambda: add_relu(x, weight, z, 1.0, bias, *geometry)
        tasks["no_bias"] = lambda: plain(x, weight, None, *geometry)
    if weight.shape[2:] == (1, 1) and geometry[0] == (1, 1) and then == "relu":
        rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        matrix = weight[:, :, 0, 0].t()

        def product() -> Tensor:
            y = torch._addmm_activation(bias, rows, matrix)
            return y.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)

        tasks["cublas"] = product
    if x.shape[1] == 3:  # the stem: with channels of zeros up to what tensor cores read at once
        for channels in (4, 8):
            padding = (0, 0, 0, 0, 0, channels - 3)
            wide, filters = (
                pad(tensor, padding).to(memory_format=torch.channels_last) for tensor in (x, weight)
            )
            tasks[f"no_bias_{channels}_channels"] = partial(plain, wide, filters, None, *geometry)
    return tasks


def atrous(device: torch.device) -> Iterator[Row]:
    """The pyramid's 3x3 convolutions with their ReLU: by cuDNN, and as products of all taps."""
    side, channels, out = 65, 2048, 256
    for batch in (1, 8):
        x = torch.randn(batch, channels, side, side, device=device).bfloat16().relu_()
        x = x.to(memory_format=torch.channels_last)
        work = 2 * 9 * batch * side**2 * channels * out
        for rate in (12, 24, 36):
            conv = nn.Conv2d(channels, out, 3, padding=rate, dilation=rate).requires_grad_(False)
            conv = conv.to(device, torch.bfloat16).to(memory_format=torch.channels_last)
            tasks = {"cuDNN": FusedConv(conv), "products": TapProductConv(conv)}
            for name, task in tasks.items():
                yield from timed(
                    f"{name}, dilation {rate}, batch {batch}", partial(task, x), work, device
                )
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        yield from timed(
            f"the product alone, batch {batch}",
            partial(torch.mm, rows, tasks["products"].taps),
            work,
            device,
        )


def timed(name: str, task: Task, work: int, device: torch.device) -> Iterator[Row]:
    seconds = graphed_seconds(task, device)
    yield {
        **{"operation": name, "us": round(seconds * 1e6, 2)},
        "tflops": round(work / seconds / 1e12, 1),
    }


def poison(like: Tensor) -> None:
    """Leave NaN in the block that the allocator hands out next for such a tensor."""
    torch.full_like(like, torch.nan)


def relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual.float() - expected.float()).norm() / expected.float().norm())


@torch.inference_mode()
def graphed_seconds(task: Task, device: torch.device) -> float:
    """Seconds of one call, from a CUDA graph of several where the device has them."""
    if device.type != "cuda":
        return median_seconds(lambda _: task(), torch.empty(0))
    for _ in range(3):
        task()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(GRAPHED_CALLS):
            task()
    times = []
    for _ in range(5):
        synchronize(device)
        started = time.perf_counter()
        for _ in range(3):
            graph.replay()
        synchronize(device)
        times.append((time.perf_counter() - started) / (3 * GRAPHED_CALLS))
    return sorted(times)[2]

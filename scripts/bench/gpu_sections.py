"""What there is to learn of a GPU in a few minutes, one question a section.

A section is a function that yields rows for a JSON file as soon as it has them. It runs in a
process of its own (`gpu_check`), so that one that hangs or breaks the device costs no other.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from model import build_segmenter, optimize_for_inference
from model.optimize import optimize_for_pixels
from model.optimize.atrous_cuda import TapProductConv
from model.optimize.cuda_graphs import CUDAGraphRunner, graph_counters, warm_up
from model.optimize.fused_cuda import FusedConv
from model.optimize.inference import folded
from model.segmenter import Segmenter
from scripts.bench.gpu import (
    COMMON_SIZES,
    Size,
    figures_of,
    measure,
    median_seconds,
    synchronize,
)

if TYPE_CHECKING:
    from model.preset import Preset

ROOT = Path(__file__).parents[2]

Row = dict[str, object]
Task = Callable[[], Tensor]

# The tests that need a GPU. The rest of each file passes without.
CUDA_TESTS = (
    "tests/model/optimize/test_atrous_cuda.py",
    "tests/model/optimize/test_fused_cuda.py",
    "tests/model/optimize/test_cuda_graphs.py",
    "tests/imaging/mask/test_class_mask.py",
)

FIRST_SIZES: Sequence[Size] = ((520, 700), (700, 520))  # none of the common ones
MASK_SIZE: Size = (3000, 4000)  # 12 megapixels

GRAPHED_CALLS = 20  # of one operator in a graph, so that its launch does not count


@dataclass(frozen=True)
class Options:
    """What the sections measure."""

    device: torch.device
    networks: Sequence[str]
    sizes: Sequence[Size]
    batches: Sequence[int]


@dataclass(frozen=True)
class Section:
    rows: Callable[[Options], Iterable[Row]]
    limit: float  # seconds, of which some ten are for the process's start


def cuda_tests(options: Options) -> Iterator[Row]:
    """The tests that are skipped without a GPU."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider"]
    command = [*pytest, "-W", "default", "-k", "on_a_gpu or on_devices", *CUDA_TESTS]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(result.stdout, result.stderr, flush=True)
    for line in result.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR", "SKIPPED")) or (" in " in line and "passed" in line):
            yield {"test": line}
    yield {"exit_status": result.returncode}


def street_network() -> tuple[Segmenter, Preset]:
    """The trained network that comes with the project."""
    # Here and in `mask`: a machine without Pillow or PyYAML still has the other sections.
    from model.preset import build_network, load_preset

    preset = load_preset("street-resnet18")
    assert preset.weights is not None
    assert preset.weights.file is not None
    net = build_network(preset)
    net.load_state_dict(torch.load(preset.weights.file, map_location="cpu", weights_only=True))
    return net.eval(), preset


def photo(size: Size) -> Tensor:
    """A photo-like image, uint8 (1, 3, H, W) RGB."""
    from PIL import Image

    height, width = size
    with Image.open(ROOT / "serving" / "runtime" / "golden.png") as file:
        image = file.convert("RGB").resize((width, height))
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(1, height, width, 3).permute(0, 3, 1, 2).contiguous()


def agreement(options: Options) -> Iterator[Row]:
    """A trained network's masks of a photo-like image, against those of fp32 on the CPU."""
    net, preset = street_network()
    pixels = photo((preset.short_side, 480))
    expected = optimize_for_pixels(net, preset.mean, preset.std, "cpu", "fp32")(pixels)
    for precision in ("fp32", "bf16", "fp16"):
        fast = optimize_for_pixels(net, preset.mean, preset.std, options.device, precision)
        for batch in (1, 8):
            for call in ("plain", "captured"):
                logits = fast(pixels.expand(batch, -1, -1, -1)).cpu()
                same = (logits.argmax(1) == expected.argmax(1)).float().mean()
                off = (logits - expected).norm() / (expected.norm() * batch**0.5)
                yield {
                    **{"precision": precision, "batch": batch, "call": call},
                    **{"agreement": float(same), "logits_off_by": float(off)},
                }


def forwards(contenders: Sequence[str], options: Options) -> Iterator[Row]:
    """The table's rows of some contenders."""
    for network in options.networks:
        for figure in figures_of(
            network, contenders, options.device, options.sizes, options.batches
        ):
            yield {"figure": asdict(figure)}


def street(options: Options) -> Iterator[Row]:
    """The table's rows of the trained network, on a photo-like image of a camera's aspect ratio."""
    net, preset = street_network()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))

    def images(batch: int, size: Size) -> Tensor:
        return ((photo(size) / 255 - mean) / std).expand(batch, -1, -1, -1)

    for figure in measure(
        preset.name,
        net,
        net,
        ("eager-bf16", "ours"),
        images,
        options.device,
        [(preset.short_side, preset.short_side * 4 // 3)],
        (1, 8),
    ):
        yield {"figure": asdict(figure)}


@dataclass(frozen=True)
class Layer:
    """A convolution of the network, with what comes after it and the size of its input."""

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


def convolutions(options: Options) -> Iterator[Row]:
    """Each convolution of the network with its ReLU and its sum: fused against plain."""
    generator = torch.Generator(options.device).manual_seed(0)

    def noise(*shape: int, scale: float = 1.0) -> Tensor:
        x = torch.randn(shape, generator=generator, device=options.device) * scale
        x = x.bfloat16()
        return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x

    for batch in (1, 8):
        for layer, count in layers_of(options.networks[0], options.sizes[0]):
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
                    seconds = graphed_seconds(task, options.device)
                    row[f"{name}_us"] = round(seconds * 1e6, 2)
                    row[f"{name}_tflops"] = round(2 * multiplications / seconds / 1e12, 1)
                except (AttributeError, RuntimeError) as error:
                    row[f"{name}_error"] = str(error)[:200]
            yield row


def tasks_of(
    then: str, x: Tensor, weight: Tensor, bias: Tensor, z: Tensor, geometry: tuple[object, ...]
) -> dict[str, Task]:
    """What computes a convolution and what comes after it, by name; the first is the definition."""
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
                torch.nn.functional.pad(tensor, padding).to(memory_format=torch.channels_last)
                for tensor in (x, weight)
            )
            tasks[f"no_bias_{channels}_channels"] = partial(plain, wide, filters, None, *geometry)
    return tasks


def atrous(options: Options) -> Iterator[Row]:
    """The pyramid's 3x3 convolutions with their ReLU: by cuDNN, and as products of all taps."""
    side, channels, out = 65, 2048, 256
    device = options.device
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


def profile(options: Options) -> Iterator[Row]:
    """The kernels of one forward, without a graph, by the time that they take."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    net = optimize_for_inference(build_segmenter(options.networks[0]), options.device, "bf16")
    forward = net.net if isinstance(net, CUDAGraphRunner) else net
    for batch in (1, 8):
        x = torch.randn(batch, 3, *options.sizes[0], device=options.device)
        for _ in range(3):
            forward(x)
        synchronize(options.device)
        with profiler(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
            forward(x)
            synchronize(options.device)
        events = [event for event in profiled.events() if event.device_type.name == "CUDA"]
        kernels: dict[str, tuple[int, float]] = {}
        for event in events:
            count, total = kernels.get(event.name, (0, 0.0))
            kernels[event.name] = (count + 1, total + event.device_time_total)
        total = sum(time for _, time in kernels.values())
        yield {"batch": batch, "kernels": len(events), "us": round(total, 1)}
        largest = sorted(kernels.items(), key=lambda item: -item[1][1])[:30]
        for name, (count, microseconds) in largest:
            yield {"batch": batch, "kernel": name[:150], "count": count, "us": microseconds}


def shapes(options: Options) -> Iterator[Row]:
    """What the first calls of a shape cost, and a warm-up of the common sizes; time and memory."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    started = time.perf_counter()
    net = optimize_for_pixels(build_segmenter(options.networks[0]), mean, std, options.device)
    yield {"optimize_seconds": round(time.perf_counter() - started, 2), **memory(options.device)}
    for size in FIRST_SIZES:
        pixels = torch.zeros(1, 3, *size, dtype=torch.uint8, device=options.device)
        for call in range(1, 5):
            synchronize(options.device)
            started = time.perf_counter()
            net(pixels)
            synchronize(options.device)
            milliseconds = (time.perf_counter() - started) * 1e3
            yield {"size": size, "call": call, "ms": round(milliseconds, 2)}
    started = time.perf_counter()
    warm_up(net, COMMON_SIZES)
    synchronize(options.device)
    counters = graph_counters(net)
    yield {
        "warm_up_seconds": round(time.perf_counter() - started, 2),
        "counters": asdict(counters) if counters else None,
        **memory(options.device),
    }


def memory(device: torch.device) -> Row:
    """MiB that this process has of the GPU: in tensors, in PyTorch's allocator, and in all."""
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {
        "allocated_mib": torch.cuda.memory_allocated(device) >> 20,
        "reserved_mib": torch.cuda.memory_reserved(device) >> 20,
        "used_on_device_mib": (total - free) >> 20,
    }


def mask(options: Options) -> Iterator[Row]:
    """A mask of 12 megapixels: made by Triton and in chunks; copied to the CPU."""
    from imaging.mask.class_mask import class_mask, class_mask_and_confidence, mask_in_chunks

    coarse = torch.randn(1, 21, 9, 12, device=options.device)
    logits = torch.nn.functional.interpolate(8 * coarse, (65, 87), mode="bicubic")
    size = MASK_SIZE
    tasks: dict[str, Task] = {
        "class_mask": lambda: class_mask(logits, size),
        "class_mask_and_confidence": lambda: class_mask_and_confidence(logits, size)[1],
        "in chunks": lambda: mask_in_chunks(logits, size, with_confidence=False)[0],
    }
    labels = class_mask(logits, size)
    same = (labels == tasks["in chunks"]()).float().mean()
    yield {"agreement": float(same)}
    for name, task in tasks.items():
        seconds = median_seconds(lambda _, task=task: task(), logits)  # type: ignore[misc]
        yield {"task": name, "ms": round(seconds * 1e3, 3)}
    pinned = torch.empty(labels.shape, dtype=labels.dtype, pin_memory=options.device.type == "cuda")
    copies: dict[str, Callable[[], object]] = {
        "copy to pageable memory": labels.cpu,
        "copy to pinned memory": lambda: pinned.copy_(labels, non_blocking=True),
        "pin memory": lambda: torch.empty(
            labels.shape, dtype=labels.dtype, pin_memory=options.device.type == "cuda"
        ),
    }
    for name, copy in copies.items():
        seconds = median_seconds(lambda x, copy=copy: (copy(), x)[1], logits)  # type: ignore[misc]
        yield {"task": name, "ms": round(seconds * 1e3, 3)}


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


# All but cudnn.benchmark, whose choices of kernels others would use, and torch.compile, which takes
# minutes.
QUICK_CONTENDERS = ("eager-bf16", "ours", "eager-fp32", "ours-without-graphs")

SECTIONS: dict[str, Section] = {
    "tests": Section(cuda_tests, limit=90),
    "forwards": Section(partial(forwards, QUICK_CONTENDERS), limit=90),
    "agreement": Section(agreement, limit=40),
    "street": Section(street, limit=40),
    "atrous": Section(atrous, limit=30),
    "ours-cudnn-benchmark": Section(partial(forwards, ["ours-cudnn-benchmark"]), limit=60),
    "convolutions": Section(convolutions, limit=60),
    "profile": Section(profile, limit=40),
    "shapes": Section(shapes, limit=60),
    "mask": Section(mask, limit=40),
    "max-autotune": Section(partial(forwards, ["max-autotune"]), limit=400),
}

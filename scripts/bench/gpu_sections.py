"""The questions about a GPU that a few minutes can settle, one per section.

A section is a function that yields rows for a JSON file as soon as it has them. It runs in a
process of its own (`gpu_check`), so one that hangs or breaks the device costs no other.
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
from torch import Tensor

from model import build_segmenter, optimize_for_inference
from model.optimize import optimize_for_pixels
from model.optimize.cuda_graphs import CUDAGraphRunner, graph_counters, warm_up
from model.segmenter import Segmenter
from scripts.bench.gpu import (
    COMMON_SIZES,
    Size,
    figures_of,
    measure,
    median_seconds,
    synchronize,
)
from scripts.bench.gpu_layers import Row, Task, atrous, convolutions

if TYPE_CHECKING:
    from model.preset import Preset

ROOT = Path(__file__).parents[2]

# The tests that need a GPU. The rest of each file passes without.
CUDA_TESTS = (
    "tests/model/optimize/test_atrous_cuda.py",
    "tests/model/optimize/test_fused_cuda.py",
    "tests/model/optimize/test_cuda_graphs.py",
    "tests/imaging/mask/test_class_mask.py",
)

FIRST_SIZES: Sequence[Size] = ((520, 700), (700, 520))  # none of the common ones
MASK_SIZE: Size = (3000, 4000)  # 12 megapixels


@dataclass(frozen=True)
class Options:
    """The device, networks and inputs to measure."""

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
    """Time of a shape's first calls; time and memory of a warm-up of the common sizes."""
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
    """MiB of this process in tensors and in PyTorch's allocator, and of all on the device."""
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


# Without cudnn.benchmark, whose choices of kernels later contenders would use, and torch.compile,
# which takes minutes.
QUICK_CONTENDERS = ("eager-bf16", "ours", "eager-fp32", "ours-without-graphs")

SECTIONS: dict[str, Section] = {
    "tests": Section(cuda_tests, limit=90),
    "forwards": Section(partial(forwards, QUICK_CONTENDERS), limit=90),
    "agreement": Section(agreement, limit=40),
    "street": Section(street, limit=40),
    "atrous": Section(lambda options: atrous(options.device), limit=30),
    "ours-cudnn-benchmark": Section(partial(forwards, ["ours-cudnn-benchmark"]), limit=60),
    "convolutions": Section(
        lambda options: convolutions(options.networks[0], options.sizes[0], options.device),
        limit=60,
    ),
    "profile": Section(profile, limit=40),
    "shapes": Section(shapes, limit=60),
    "mask": Section(mask, limit=40),
    "max-autotune": Section(partial(forwards, ["max-autotune"]), limit=400),
}

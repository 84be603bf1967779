"""Time the forward on a GPU: torchvision's DeepLabV3 in three ways, and ours. One table.

    python -m scripts.bench_gpu [--json FILE]

Needs torch and torchvision only. Weights are random, the same for all. A forward takes normalised
images that are on the device already, and leaves logits there. `of product` is the share of the
measured bf16 rate of matrix products that a forward's arithmetic comes to, counted as torchvision
does it: without the work that ours leaves out, so that ours may pass what its products reach.

Rows are printed, and the file is written, as they are measured. What torch.compile tunes comes
last, since each of its rows takes minutes: a run may be ended there.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101

from model import build_segmenter, optimize_for_inference
from model.optimize.cuda_graphs import release_cached_memory
from model.segmenter import Segmenter

Forward = Callable[[Tensor], Tensor]

NETWORKS: Final[dict[str, Callable[..., nn.Module]]] = {
    "resnet50": deeplabv3_resnet50,
    "resnet101": deeplabv3_resnet101,
}
SIZES: Final = ((520, 520), (520, 693))  # (H, W) px: square, and 4:3 as most photos
BATCHES: Final = (1, 8, 32)
NUM_CLASSES: Final = 21

WARM_UPS: Final = 3
ROUNDS: Final = 9  # timings of which the median counts
ROUND_SECONDS: Final = 0.2  # of each, at least: a single forward is shorter than a clock's noise
GEMM_SIDE: Final = 8192


@dataclass(frozen=True)
class Figure:
    network: str
    size: tuple[int, int]
    batch: int
    contender: str
    images_per_second: float  # 0: it failed
    of_product: float  # 0..1
    agreement: float  # share of the cells with the class that eager fp32 gives them


class Logits(nn.Module):
    """torchvision's network, less its enlargement of the logits: ours leaves that to the mask."""

    def __init__(self, name: str, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        net = NETWORKS[name](
            weights=None, weights_backbone=None, num_classes=NUM_CLASSES, aux_loss=False
        )
        net.load_state_dict(weights)
        self.backbone = net.get_submodule("backbone")
        self.classifier = net.get_submodule("classifier")

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.backbone(x)["out"])
        return logits


def figures_of(
    name: str,
    contenders: Sequence[str],
    device: torch.device,
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
    rate: float,
) -> Iterator[Figure]:
    """The contenders, keys of WAYS, at every size and batch; each alone beside the plain one.

    `rate` is the device's, of bf16 products, in operations per second.
    """
    torch.manual_seed(0)
    ours = build_segmenter(name, NUM_CLASSES).eval()
    plain = Logits(name, ours.state_dict()).eval()
    exact = WAYS[PLAIN](plain, ours, device)
    for size in sizes:
        work = operations(plain, size)
        for batch in batches:
            images = torch.randn(batch, 3, *size, device=device)
            with torch.inference_mode():
                expected = exact(images).argmax(1)
            for contender in contenders:
                try:
                    speed, same = measure(WAYS[contender](plain, ours, device), images, expected)
                except Exception as error:
                    print(f"{contender}, {size}, {batch}: {error}", file=sys.stderr)
                    speed = same = 0.0
                yield Figure(name, size, batch, contender, speed, work * speed / rate, same)
                torch.compiler.reset()  # or compiled code of the last shape would stay, and count
                release_cached_memory()


@torch.inference_mode()
def measure(forward: Forward, images: Tensor, expected: Tensor) -> tuple[float, float]:
    """Images per second, and the share of the cells (B, h, w) with the expected class."""
    same = (forward(images).argmax(1) == expected).float().mean()
    return len(images) / median_seconds(forward, images), float(same)


def fp32(plain: Logits, ours: Segmenter, device: torch.device) -> Forward:
    return copy_to(plain, device, torch.float32)


def bf16(plain: Logits, ours: Segmenter, device: torch.device) -> Forward:
    net = copy_to(plain, device, torch.bfloat16)
    return lambda x: net(x.bfloat16().to(memory_format=torch.channels_last))


def autotuned(plain: Logits, ours: Segmenter, device: torch.device) -> Forward:
    net = torch.compile(copy_to(plain, device, torch.bfloat16), mode="max-autotune", dynamic=False)
    # Its output lives in a CUDA graph's memory, which the next call overwrites.
    return lambda x: net(x.bfloat16().to(memory_format=torch.channels_last)).clone()


def optimized(plain: Logits, ours: Segmenter, device: torch.device) -> Forward:
    net = optimize_for_inference(ours, device)
    net(torch.randn(1, 3, *SIZES[0]))  # as a worker's first, by which it chooses among its ways
    return net


PLAIN: Final = "torchvision, eager fp32 (convolutions in TF32)"
COMPILED: Final = "torchvision, torch.compile(max-autotune), bf16"

# What builds each forward; the first is what the others are compared with.
WAYS: Final[dict[str, Callable[[Logits, Segmenter, torch.device], Forward]]] = {
    PLAIN: fp32,
    "torchvision, eager bf16, channels_last": bf16,
    "ours": optimized,
    COMPILED: autotuned,
}


def copy_to(net: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    return copy.deepcopy(net).to(device, dtype).to(memory_format=torch.channels_last)


def median_seconds(forward: Forward, images: Tensor) -> float:
    """Seconds of one call, in a row of calls that keeps the device busy."""
    for _ in range(WARM_UPS):
        forward(images)
    once = seconds_of(forward, images, 1)
    calls = max(1, round(ROUND_SECONDS / once))
    return statistics.median(seconds_of(forward, images, calls) / calls for _ in range(ROUNDS))


def seconds_of(forward: Forward, images: Tensor, calls: int) -> float:
    synchronize(images.device)
    started = time.perf_counter()
    for _ in range(calls):
        forward(images)
    synchronize(images.device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def operations(net: nn.Module, size: tuple[int, int]) -> int:
    """Multiplications and additions of one image's forward, those of padding among them."""
    counter = FlopCounterMode(display=False)
    with counter, torch.device("meta"):
        copy_to(net, torch.device("meta"), torch.float32)(torch.empty(1, 3, *size))
    return int(counter.get_total_flops())


def product_rate(device: torch.device, side: int) -> float:
    """Operations per second of a square bf16 matrix product on the device."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / median_seconds(lambda x: x @ x, a)


HEAD: Final = (
    "| network | size | batch | | img/s | times as fast | of product | agreement |\n"
    "|---|---|---:|---|---:|---:|---:|---:|"
)


def row(figure: Figure, first: Figure) -> str:
    """A line of the Markdown table under HEAD; the gain is that over `first`."""
    f, size = figure, f"{figure.size[0]}x{figure.size[1]}"
    if not f.images_per_second:
        return f"| {f.network} | {size} | {f.batch} | {f.contender} | failed | | | |"
    gain = f.images_per_second / first.images_per_second if first.images_per_second else 0
    return (
        f"| {f.network} | {size} | {f.batch} | {f.contender} | {f.images_per_second:.1f} "
        f"| {gain:.2f} | {f.of_product:.2f} | {f.agreement:.4f} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench_gpu", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("error: torch sees no GPU; scripts.benchmark is for the CPU", file=sys.stderr)
        return 1
    device = torch.device("cuda")
    rate = product_rate(device, GEMM_SIDE)
    conditions = {
        "device": torch.cuda.get_device_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "bf16 product, TFLOP/s": round(rate / 1e12, 1),
    }
    print("\n".join(f"{key}: {value}" for key, value in conditions.items()), end="\n\n")
    print(HEAD, flush=True)
    figures: list[Figure] = []
    firsts: dict[tuple[object, ...], Figure] = {}
    quick = [way for way in WAYS if way != COMPILED]
    for contenders in (quick, [COMPILED]):
        for name in NETWORKS:
            for figure in figures_of(name, contenders, device, SIZES, BATCHES, rate):
                first = firsts.setdefault((name, figure.size, figure.batch), figure)
                print(row(figure, first), flush=True)
                figures.append(figure)
                if options.json:
                    report = {"conditions": conditions, "figures": [*map(asdict, figures)]}
                    options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

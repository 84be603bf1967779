"""Time the forward on a GPU: torchvision's DeepLabV3 in four ways, and ours. One table.

    python -m scripts.bench_gpu [--json FILE]

Needs torch and torchvision only. Weights are random, the same for all. A forward takes normalised
images that are on the device already, and leaves logits there. `of product` is the share of the
measured bf16 rate of matrix products that a forward's arithmetic comes to, counted as torchvision
does it: without the work that ours leaves out, so that ours may pass what its products reach.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101

from model import build_segmenter, optimize_for_inference

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
    images_per_second: float
    of_product: float  # 0..1
    agreement: float  # share of the cells with the class that eager fp32 gives them


class Logits(nn.Module):
    """torchvision's network, less its enlargement of the logits: ours leaves that to the mask."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.net = NETWORKS[name](
            weights=None, weights_backbone=None, num_classes=NUM_CLASSES, aux_loss=False
        )

    def forward(self, x: Tensor) -> Tensor:
        backbone, classifier = (
            self.net.get_submodule("backbone"),
            self.net.get_submodule("classifier"),
        )
        logits: Tensor = classifier(backbone(x)["out"])
        return logits


def figures_of(
    name: str,
    device: torch.device,
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
    compiled: bool,
) -> Iterator[Figure]:
    """Every contender at every size and batch; each alone in memory, the plain one first."""
    torch.manual_seed(0)
    ours = build_segmenter(name, NUM_CLASSES).eval()
    plain = Logits(name).eval()
    plain.net.load_state_dict(ours.state_dict())
    rate = product_rate(device, GEMM_SIDE)
    for size in sizes:
        for batch in batches:
            images = torch.randn(batch, 3, *size, device=device)
            reference: Tensor | None = None
            for contender, make in contenders(plain, ours, device, compiled):
                forward = make()
                with torch.inference_mode():
                    label = forward(images).argmax(1)
                    reference = label if reference is None else reference
                    seconds = median_seconds(forward, images)
                yield Figure(
                    name,
                    size,
                    batch,
                    contender,
                    batch / seconds,
                    operations(plain, size) * batch / seconds / rate,
                    float((label == reference).float().mean()),
                )
                del forward
                if device.type == "cuda":
                    torch.cuda.empty_cache()


def contenders(
    plain: nn.Module, ours: nn.Module, device: torch.device, compiled: bool
) -> Iterator[tuple[str, Callable[[], Forward]]]:
    """Name, and what builds the forward. The first is what the others are compared with."""

    def fp32() -> Forward:
        return copy_to(plain, device, torch.float32)

    def bf16() -> Forward:
        net = copy_to(plain, device, torch.bfloat16)
        return lambda x: net(x.bfloat16().to(memory_format=torch.channels_last))

    def autotuned() -> Forward:
        net = torch.compile(copy_to(plain, device, torch.bfloat16), mode="max-autotune")
        # Its output lives in a CUDA graph's memory, which the next call overwrites.
        return lambda x: net(x.bfloat16().to(memory_format=torch.channels_last)).clone()

    yield "torchvision, eager fp32", fp32
    yield "torchvision, eager bf16, channels_last", bf16
    if compiled:
        yield "torchvision, torch.compile(max-autotune), bf16", autotuned
    yield "ours", lambda: optimize_for_inference(ours, device)  # type: ignore[arg-type]


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


def table(figures: Sequence[Figure]) -> str:
    """Markdown, with the gain over the first contender of the same network, size and batch."""
    lines = [
        "| network | size | batch | | img/s | times as fast | of product | agreement |",
        "|---|---|---:|---|---:|---:|---:|---:|",
    ]
    first: dict[tuple[object, ...], float] = {}
    for f in figures:
        gain = f.images_per_second / first.setdefault(
            (f.network, f.size, f.batch), f.images_per_second
        )
        size = f"{f.size[0]}x{f.size[1]}"
        lines.append(
            f"| {f.network} | {size} | {f.batch} | {f.contender} | {f.images_per_second:.1f} "
            f"| {gain:.2f} | {f.of_product:.2f} | {f.agreement:.4f} |"
        )
    return "\n".join(lines)


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
    conditions = {
        "device": torch.cuda.get_device_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "bf16 product, TFLOP/s": round(product_rate(device, GEMM_SIDE) / 1e12, 1),
    }
    print("\n".join(f"{key}: {value}" for key, value in conditions.items()), end="\n\n", flush=True)
    figures = [
        figure for name in NETWORKS for figure in figures_of(name, device, SIZES, BATCHES, True)
    ]
    print(table(figures))
    if options.json:
        report = {"conditions": conditions, "figures": [asdict(figure) for figure in figures]}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The forward on a GPU: torchvision's DeepLabV3, ours, and torch.compile, in images per second.

Needs torch and torchvision only. The weights are the same for all. A forward takes normalised
images that are on the device already, and leaves logits there. `of product` is the rate of the
forward's arithmetic as a share of the measured bf16 rate of matrix products. Operations are those
of torchvision's network: ours leaves some out, and its share may exceed that of its products.

"ours-cudnn-benchmark" needs a process of its own: cuDNN chooses a kernel once for a shape, and
later contenders would run those that `cudnn.benchmark` chose.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101

from model import build_segmenter, optimize_for_inference
from model.optimize.cuda_graphs import CUDAGraphRunner
from model.optimize.fold import folded
from model.segmenter import Segmenter

Forward = Callable[[Tensor], Tensor]
Size = tuple[int, int]  # (H, W) px

NETWORKS: Final[dict[str, Callable[..., nn.Module]]] = {
    "resnet50": deeplabv3_resnet50,
    "resnet101": deeplabv3_resnet101,
}
SIZES: Final[tuple[Size, ...]] = ((520, 520), (520, 693))  # square, and 4:3 as most photos

# Short sides of 520 px at the aspect ratios that cameras and screens have.
COMMON_SIZES: Final[tuple[Size, ...]] = (
    *((520, 520), (520, 693), (693, 520), (520, 780), (780, 520)),
    *((520, 924), (924, 520)),
)

BATCHES: Final = (1, 8, 32)
NUM_CLASSES: Final = 21

WARM_UPS: Final = 3  # forwards: the second captures a graph
ROUNDS: Final = 7  # timings of which the median counts
ROUND_SECONDS: Final = 0.2  # of each, at least: a single forward is shorter than a clock's noise
GEMM_SIDE: Final = 8192


@dataclass(frozen=True)
class Figure:
    """A contender's speed at one size and batch."""

    network: str
    size: Size
    batch: int
    contender: str
    images_per_second: float
    of_product: float  # 0..1
    agreement: float  # share of the cells with the class that eager fp32 gives them


class Logits(nn.Module):
    """torchvision's network without its upsampling of the logits: ours leaves that to the mask."""

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
    sizes: Sequence[Size],
    batches: Sequence[int],
) -> Iterator[Figure]:
    """The figures of a key of NETWORKS at every size and batch; keys of CONTENDERS name the rest.

    Weights and images are random: the logits of classes nearly tie, so fewer cells agree than with
    trained weights.
    """
    torch.manual_seed(0)
    ours = build_segmenter(name, NUM_CLASSES).eval()
    plain = Logits(name, ours.state_dict()).eval()
    yield from measure(name, plain, ours, contenders, noise, device, sizes, batches)


def noise(batch: int, size: Size) -> Tensor:
    return torch.randn(batch, 3, *size)


def measure(
    name: str,
    plain: nn.Module,
    ours: Segmenter,
    contenders: Sequence[str],
    images_of: Callable[[int, Size], Tensor],
    device: torch.device,
    sizes: Sequence[Size],
    batches: Sequence[int],
) -> Iterator[Figure]:
    """The figures of one network, as we build it and as it is elsewhere, with the same weights."""
    exact = eager_fp32(plain, ours, device)
    rate = product_rate(device, GEMM_SIDE if device.type == "cuda" else 256)
    work = {size: operations(plain, size) for size in sizes}
    for contender in contenders:
        forward = CONTENDERS[contender](plain, ours, device)
        for size in sizes:
            for batch in batches:
                images = images_of(batch, size).to(device)
                with torch.inference_mode():
                    expected = exact(images).argmax(1)
                    agreement = float((forward(images).argmax(1) == expected).float().mean())
                    speed = batch / median_seconds(forward, images)
                of_product = work[size] * speed / rate
                yield Figure(name, size, batch, contender, speed, of_product, agreement)


def eager_fp32(plain: nn.Module, ours: Segmenter, device: torch.device) -> Forward:
    return copy_to(plain, device, torch.float32)


def eager_bf16(plain: nn.Module, ours: Segmenter, device: torch.device) -> Forward:
    net = copy_to(plain, device, torch.bfloat16)
    return lambda x: net(x.bfloat16().to(memory_format=torch.channels_last))


def max_autotune(plain: nn.Module, ours: Segmenter, device: torch.device) -> Forward:
    """torch.compile of our network with its batch norms folded: one pass less than it would have.

    Its output lives in a CUDA graph's memory, which the next call overwrites.
    """
    net = torch.compile(folded(ours, device, torch.bfloat16), mode="max-autotune", dynamic=False)
    return lambda x: net(x.bfloat16().to(memory_format=torch.channels_last)).clone()


def optimized(plain: nn.Module, ours: Segmenter, device: torch.device) -> Forward:
    return optimize_for_inference(ours, device, "bf16")


def without_graphs(plain: nn.Module, ours: Segmenter, device: torch.device) -> Forward:
    net = optimize_for_inference(ours, device, "bf16")
    return net.net if isinstance(net, CUDAGraphRunner) else net


def with_cudnn_benchmark(plain: nn.Module, ours: Segmenter, device: torch.device) -> Forward:
    torch.backends.cudnn.benchmark = True
    return optimize_for_inference(ours, device, "bf16")


# Builds each forward.
CONTENDERS: Final[dict[str, Callable[[nn.Module, Segmenter, torch.device], Forward]]] = {
    "eager-fp32": eager_fp32,
    "eager-bf16": eager_bf16,
    "ours-without-graphs": without_graphs,
    "ours": optimized,
    "ours-cudnn-benchmark": with_cudnn_benchmark,
    "max-autotune": max_autotune,
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


def operations(net: nn.Module, size: Size) -> int:
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
    "| network | size | batch | | img/s | ms/img | speedup | of product | agreement |\n"
    "|---|---|---:|---|---:|---:|---:|---:|---:|"
)


def table(figures: Sequence[Figure]) -> str:
    """Markdown, grouped by network, size and batch; the speedup is over eager bf16."""
    groups: dict[tuple[str, Size, int], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.network, figure.size, figure.batch), []).append(figure)
    lines = [HEAD]
    for group in groups.values():
        baseline = next((f.images_per_second for f in group if f.contender == "eager-bf16"), None)
        lines += [row(figure, baseline) for figure in group]
    return "\n".join(lines)


def row(figure: Figure, baseline: float | None) -> str:
    """A line of the table, with the speedup over `baseline` images per second."""
    speed, (height, width) = figure.images_per_second, figure.size
    speedup = f"{speed / baseline:.2f}" if baseline else ""
    return (
        f"| {figure.network} | {height}x{width} | {figure.batch} | {figure.contender} "
        f"| {speed:.1f} | {1000 / speed:.3f} | {speedup} | {figure.of_product:.2f} "
        f"| {figure.agreement:.4f} |"
    )

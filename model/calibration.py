"""A calibration: the largest number of each map that an int8 network keeps as uint8.

It is measured on ordinary photos of the kind that the network will see; no labels are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from model.optimize.fold import folded
from model.optimize.quantized import quantized
from model.optimize.quantized_conv import fastest_convolution
from model.optimize.quantized_maps import is_signed, stored_maps
from model.segmenter import Segmenter

CPU = torch.device("cpu")

# Shares of a map's values that its range covers. Those outside become the largest one. A smaller
# range has finer steps; `calibrate` takes the share with which most cells keep their class.
SHARES = (1.0, 0.99999, 0.9999)


def calibrate(net: Segmenter, batches: Iterable[Tensor]) -> dict[str, float]:
    """The calibration of `net` from batches (B, 3, H, W) of normalised photos, of any sizes.

    It maps each layer whose output is stored as uint8 to the largest number to be represented; JSON
    keeps it. The same photos give the same calibration. ValueError where there are no photos or
    where the network's numbers are not finite.
    """
    plain = folded(net, CPU, torch.float32)
    images = [batch.to(CPU, torch.float32, memory_format=torch.channels_last) for batch in batches]
    if not images:
        raise ValueError("there are no photos to calibrate with; a few dozen are enough")
    with torch.inference_mode():
        histograms, expected = observe(plain, images)
        candidates = [
            {name: histogram.covering(share) for name, histogram in histograms.items()}
            for share in SHARES
        ]
        convolution = fastest_convolution()
        agreements = [
            class_agreement(map(quantized(plain, candidate, convolution), images), expected)
            for candidate in candidates
        ]
    return candidates[agreements.index(max(agreements))]


def observe(
    plain: Segmenter, images: Sequence[Tensor]
) -> tuple[dict[str, Histogram], list[Tensor]]:
    """What the network's stored maps hold, by their names, and its logits of each batch."""
    histograms = {name: Histogram() for name in stored_maps(plain)}

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def add(module: nn.Module, inputs: object, output: Tensor) -> None:
            histograms[name].add(output.abs() if is_signed(name) else output.relu())

        return add

    hooks = [
        module.register_forward_hook(hook(name)) for name, module in stored_maps(plain).items()
    ]
    try:
        logits = [plain(image) for image in images]
    finally:
        for handle in hooks:
            handle.remove()
    return histograms, logits


def class_agreement(logits: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The share of cells with the same largest logit, of batches (B, num_classes, h, w)."""
    same = [(a.argmax(1) == b.argmax(1)).flatten() for a, b in zip(logits, expected)]
    return float(torch.cat(same).float().mean())


class Histogram:
    """Counts of numbers from 0 on, by their bf16 bit pattern: bins 0.4 to 0.8 % wide.

    The patterns of such numbers are in the order of the numbers, whatever their size.
    """

    INFINITY = 0x7F80  # bf16's; patterns above are NaN

    def __init__(self) -> None:
        self.counts = torch.zeros(1 << 15, dtype=torch.int64)

    def add(self, values: Tensor) -> None:
        patterns = values.flatten().to(torch.bfloat16).view(torch.int16)
        patterns = patterns & (len(self.counts) - 1)  # without the sign, which -0 and NaN may have
        self.counts += torch.bincount(patterns, minlength=len(self.counts))

    def covering(self, share: float) -> float:
        """The smallest bin's value, not below `share` of the numbers; 1 if all of them are 0."""
        if self.counts[self.INFINITY :].any():
            raise ValueError("the network gives numbers that are not finite")
        below = self.counts.cumsum(0)
        pattern = torch.searchsorted(below, share * float(below[-1]))
        value = float(pattern.to(torch.int16).view(torch.bfloat16))
        return value or 1.0

"""Comparison of fast code on a GPU with the plain code, when a network is loaded.

Kernels and operators without a contract may read uninitialised memory. It often holds zeros, and
the mistake shows only later. Therefore the fast code runs in memory full of NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Memory filled with NaN for the comparison: more than the activations of one image take.
POISONED_BYTES = 256 << 20


def relative_difference(
    fast: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor], x: Tensor
) -> float:
    """The norm of `fast(x) - plain(x)` as a share of the norm of `plain(x)`.

    NaN where the output of `fast` is not finite; FloatingPointError where that of `plain` is not.
    """
    with torch.inference_mode():
        expected = plain(x).float()
        if not expected.isfinite().all():
            raise FloatingPointError("the plain output is not finite")
        poison_free_memory(x.device)
        actual = fast(x).float()
        return float((actual - expected).norm() / expected.norm())


def poison_free_memory(device: torch.device) -> None:
    """Fill the memory that the allocator hands out next with NaN, in every dtype."""
    torch.cuda.empty_cache()  # otherwise smaller free blocks would come first
    torch.full((POISONED_BYTES,), 0xFF, dtype=torch.uint8, device=device)

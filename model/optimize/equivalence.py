"""Whether fast code on a GPU computes what the plain code does, tried when a network is loaded.

Kernels and operators without a contract may read memory that nothing has written. What they find
there is often zero, and the mistake shows only later. So the fast code runs in memory full of NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# What the comparison fills with NaN: more than the activations of one image take.
POISONED_BYTES = 256 << 20


def relative_difference(
    fast: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor], x: Tensor
) -> float:
    """The norm of `fast(x) - plain(x)` as a share of the norm of `plain(x)`.

    NaN where either output is not finite.
    """
    with torch.inference_mode():
        expected = plain(x).float()
        poison_free_memory(x.device)
        actual = fast(x).float()
        return float((actual - expected).norm() / expected.norm())


def poison_free_memory(device: torch.device) -> None:
    """Make NaN, in every dtype, of the memory that the allocator hands out next."""
    torch.cuda.empty_cache()  # else smaller blocks that are free would come first
    torch.full((POISONED_BYTES,), 0xFF, dtype=torch.uint8, device=device)

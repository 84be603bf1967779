"""The learning rate over a run: it rises linearly to its peak, then falls as half a cosine."""

from __future__ import annotations

import math
from typing import Final

WARM_UP: Final = 0.05  # share of the steps in which the learning rate rises


def learning_rate_factor(step: int, steps: int) -> float:
    """The learning rate at step 0 <= `step` <= `steps`, as a share of its peak: 0..1.

    It is above 0 in every step of the run, and 0 after the last.
    """
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    remaining = (steps - step) / max(1, steps - warm_up)
    return 0.5 * (1 - math.cos(math.pi * remaining))

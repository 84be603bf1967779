"""Memory growth during a soak, as distinct from what a batch needs while it is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Memory is compared between the five minutes after the first two, in which a worker meets all
# shapes and fills its caches, and the last five minutes.
WARM_UP_SECONDS, WINDOW_SECONDS = 120.0, 300.0


def memory_growth(
    samples: Sequence[tuple[float, int]], statistic: Callable[[Sequence[int]], float] = min
) -> float | None:
    """Growth from the first window to the last, as a share; None where the windows overlap.

    `samples` are (seconds, bytes). The minimum of a window is what stays when a batch is done and
    the heap is trimmed. A batch in progress needs up to twice that, so other statistics follow the
    load.
    """
    end = samples[-1][0]
    if end < WARM_UP_SECONDS + 2 * WINDOW_SECONDS:
        return None
    first = [size for at, size in samples if 0 <= at - WARM_UP_SECONDS < WINDOW_SECONDS]
    last = [size for at, size in samples if end - at < WINDOW_SECONDS]
    return statistic(last) / statistic(first) - 1

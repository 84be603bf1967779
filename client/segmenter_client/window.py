"""Work done by threads, never more than a few pieces of it begun and not yet handed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_window(
    function: Callable[[T], R], items: Iterable[T], size: int
) -> Iterator[tuple[T, Future[R]]]:
    """Each item and the future of `function(item)`, done, in the order in which they end.

    `size` items are under way at a time. Who stops iterating does not wait for those: they end in
    their threads, and no others are begun.
    """
    left = iter(items)
    pool = ThreadPoolExecutor(size, thread_name_prefix="segment")
    try:
        running = {pool.submit(function, item): item for item in islice(left, size)}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            ended = [(running.pop(future), future) for future in done]
            # First the new ones: whoever iterates may take their time.
            running.update({pool.submit(function, item): item for item in islice(left, len(done))})
            yield from ended
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

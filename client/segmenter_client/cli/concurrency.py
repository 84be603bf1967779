"""A thread pool whose number of unfinished tasks is bounded, however many there are to come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Final, TypeVar

# On Windows a thread that waits without end does not notice Ctrl-C.
INTERRUPT_SECONDS: Final = 0.5

T = TypeVar("T")
R = TypeVar("R")


def map_as_completed(
    function: Callable[[T], R], items: Iterable[T], in_flight: int
) -> Iterator[tuple[T, Future[R]]]:
    """Each item and the completed future of `function(item)`, in order of completion.

    At most `in_flight` items are under way at a time. A caller that stops iterating does not wait
    for them: they end in their threads, and no others start.
    """
    waiting = iter(items)
    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="segment")
    try:
        running = {pool.submit(function, item): item for item in islice(waiting, in_flight)}
        while running:
            done, _ = wait(running, INTERRUPT_SECONDS, return_when=FIRST_COMPLETED)
            completed = [(running.pop(future), future) for future in done]
            # New ones start first: the caller may be slow.
            running.update(
                {pool.submit(function, item): item for item in islice(waiting, len(done))}
            )
            yield from completed
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

"""Batches as they form by themselves: what waits when the worker is free goes together.

A timer that fills batches while the worker computes would close them too early: under load of
eight clients Ray's own made batches of 1, 3 and 4 where this one makes them of 8.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")


class QueueFull(Exception):
    """As many items wait as there is room for."""


class Batcher(Generic[Item, Result]):
    """Hands items to `work`, one batch at a time, in a thread of its own. For one event loop.

    `work` returns a result for each item, in their order. A batch has at most `size` items; an item
    that is alone waits `window` seconds for others. At most `capacity` items wait. What nobody
    awaits any more is left out.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Sequence[Result]],
        *,
        size: int,
        window: float,
        capacity: int,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.work = work
        self.size = size
        self.window = window
        self.capacity = capacity
        self.sleep = sleep
        self.waiting: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self.task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """The item's result. Raises QueueFull, and what `work` raises for the whole batch."""
        if self.waiting.qsize() >= self.capacity:
            self.drop_cancelled()
            if self.waiting.qsize() >= self.capacity:
                raise QueueFull
        if self.task is None:
            self.task = asyncio.create_task(self.run())
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait((item, future))
        return await future

    async def between_batches(self, function: Callable[[], Value]) -> Value:
        """The function's result, computed in the batches' thread, when that is free."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function)

    async def run(self) -> None:
        while True:
            batch = [await self.waiting.get()]
            self.fill(batch)
            if len(batch) == 1 and self.size > 1:
                await self.sleep(self.window)
                self.fill(batch)
            batch = [entry for entry in batch if not entry[1].cancelled()]
            if batch:
                await self.compute(batch)

    def fill(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        while len(batch) < self.size and not self.waiting.empty():
            entry = self.waiting.get_nowait()
            if not entry[1].cancelled():
                batch.append(entry)

    def drop_cancelled(self) -> None:
        for _ in range(self.waiting.qsize()):
            entry = self.waiting.get_nowait()
            if not entry[1].cancelled():
                self.waiting.put_nowait(entry)

    async def compute(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        items = [item for item, _ in batch]
        try:
            results = await self.between_batches(lambda: self.work(items))
            pairs = list(zip(batch, results, strict=True))
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in pairs:
            if not future.done():
                future.set_result(result)

    async def close(self) -> None:
        """No batch begins any more. Those who still wait get CancelledError."""
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
        while not self.waiting.empty():
            self.waiting.get_nowait()[1].cancel()
        self.thread.shutdown(wait=False)

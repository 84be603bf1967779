"""What waits when the worker is free goes together, and nothing else is computed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from cluster.batcher import Batcher, QueueFull

TIMEOUT = 20  # seconds: a bound against hanging


class Gate:
    """Work that waits to be let through, so that a test decides what waits behind it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Semaphore(0)
        self.opened = threading.Semaphore(0)

    def work(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.started.release()
        assert self.opened.acquire(timeout=TIMEOUT)
        return [10 * item for item in items]

    def open(self, batches: int = 1) -> None:
        self.opened.release(batches)

    async def computing(self) -> None:
        """Return when a batch is in the thread."""
        assert await asyncio.to_thread(self.started.acquire, timeout=TIMEOUT)


class Windows:
    """Batching windows that end when a test says so, and how long they would be."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await self.over.wait()


async def turns(count: int = 5) -> None:
    """Let the other tasks of the loop go on until they wait."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_waits_meanwhile_is_one_batch() -> None:
    async def scenario() -> None:
        gate = Gate()
        batcher = Batcher(gate.work, size=8, window=0.0, capacity=32)
        first = asyncio.create_task(batcher(0))
        await gate.computing()
        others = [asyncio.create_task(batcher(item)) for item in range(1, 11)]
        await turns()
        gate.open(3)
        results = await asyncio.wait_for(asyncio.gather(first, *others), TIMEOUT)
        assert results == [10 * item for item in range(11)]
        assert gate.batches == [[0], list(range(1, 9)), [9, 10]]
        await batcher.close()

    asyncio.run(scenario())


def test_a_lone_request_waits_for_one_window() -> None:
    async def scenario() -> None:
        gate, windows = Gate(), Windows()
        batcher = Batcher(gate.work, size=8, window=0.002, capacity=32, sleep=windows.sleep)
        first = asyncio.create_task(batcher(1))
        await turns()
        second = asyncio.create_task(batcher(2))
        await turns()
        assert windows.seconds == [0.002]
        assert gate.batches == []
        windows.over.set()
        gate.open()
        assert await asyncio.wait_for(asyncio.gather(first, second), TIMEOUT) == [10, 20]
        assert gate.batches == [[1, 2]]
        await batcher.close()

    asyncio.run(scenario())


def test_a_full_batch_waits_for_nothing() -> None:
    async def scenario() -> None:
        gate, windows = Gate(), Windows()
        batcher = Batcher(gate.work, size=2, window=9.0, capacity=32, sleep=windows.sleep)
        gate.open()
        results = await asyncio.wait_for(asyncio.gather(batcher(1), batcher(2)), TIMEOUT)
        assert results == [10, 20]
        assert windows.seconds == []
        await batcher.close()

    asyncio.run(scenario())


def test_what_nobody_awaits_is_not_computed() -> None:
    async def scenario() -> None:
        gate = Gate()
        batcher = Batcher(gate.work, size=8, window=0.0, capacity=32)
        tasks = [asyncio.create_task(batcher(0))]
        await gate.computing()
        tasks += [asyncio.create_task(batcher(item)) for item in (1, 2, 3)]
        await turns()
        tasks[2].cancel()
        await turns()
        gate.open(2)
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), TIMEOUT)
        assert [result for result in results if isinstance(result, int)] == [0, 10, 30]
        assert isinstance(results[2], asyncio.CancelledError)
        assert gate.batches == [[0], [1, 3]]
        await batcher.close()

    asyncio.run(scenario())


def test_a_request_that_is_cancelled_in_its_batch_leaves_the_others_theirs() -> None:
    async def scenario() -> None:
        gate = Gate()
        batcher = Batcher(gate.work, size=2, window=0.0, capacity=32)
        tasks = [asyncio.create_task(batcher(item)) for item in (1, 2)]
        await gate.computing()
        tasks[0].cancel()
        gate.open()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), TIMEOUT)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1] == 20
        await batcher.close()

    asyncio.run(scenario())


def test_a_full_queue_refuses_unless_somebody_has_given_up() -> None:
    async def scenario() -> None:
        gate = Gate()
        batcher = Batcher(gate.work, size=8, window=0.0, capacity=2)
        tasks = [asyncio.create_task(batcher(0))]
        await gate.computing()
        tasks += [asyncio.create_task(batcher(item)) for item in (1, 2)]
        await turns()
        with pytest.raises(QueueFull):
            await batcher(3)
        tasks[1].cancel()
        await turns()
        tasks.append(asyncio.create_task(batcher(4)))
        await turns()
        gate.open(2)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), TIMEOUT)
        assert gate.batches == [[0], [2, 4]]
        await batcher.close()

    asyncio.run(scenario())


def test_a_batch_that_fails_fails_alone() -> None:
    def work(items: Sequence[int]) -> list[int]:
        if 1 in items:
            raise ZeroDivisionError
        return list(items)

    async def scenario() -> None:
        batcher = Batcher(work, size=1, window=0.0, capacity=32)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(batcher(1), TIMEOUT)
        assert await asyncio.wait_for(batcher(2), TIMEOUT) == 2
        await batcher.close()

    asyncio.run(scenario())


def test_work_that_loses_a_result_fails_its_batch() -> None:
    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(
            lambda items: items[1:], size=1, window=0.0, capacity=32
        )
        with pytest.raises(ValueError, match="zip"):
            await asyncio.wait_for(batcher(1), TIMEOUT)
        await batcher.close()

    asyncio.run(scenario())


def test_closing_ends_those_that_wait_and_nothing_else_is_computed() -> None:
    async def scenario() -> None:
        gate = Gate()
        batcher = Batcher(gate.work, size=8, window=0.0, capacity=32)
        tasks = [asyncio.create_task(batcher(0))]
        await gate.computing()
        tasks.append(asyncio.create_task(batcher(1)))
        await turns()
        await batcher.close()
        gate.open()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), TIMEOUT)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert gate.batches == [[0]]

    asyncio.run(scenario())

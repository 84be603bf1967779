"""Memory, threads and replacements of a running service's processes, second by second."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from scripts.launch.process_groups import members

WORKER = "model_service_worker"  # what TorchServe starts for a worker: ts/model_service_worker.py


@dataclass(frozen=True)
class Sample:
    """Sums over the service's workers, and its Java process."""

    seconds: float  # since the watch began
    workers: tuple[int, ...]  # process ids
    worker_bytes: int  # resident
    worker_threads: int
    java_bytes: int
    java_threads: int


@contextmanager
def watched(group: int, interval: float) -> Iterator[list[Sample]]:
    """Sample the process group at once and every `interval` seconds; yields the growing list."""
    samples: list[Sample] = []
    over = threading.Event()
    began = time.monotonic()

    def watch() -> None:
        while True:
            samples.append(sample(group, time.monotonic() - began))
            if over.wait(interval):
                return

    watcher = threading.Thread(target=watch, name="watch")
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join()


def deaths(samples: Sequence[Sample]) -> int:
    """Workers that were replaced."""
    return len({pid for sample in samples for pid in sample.workers}) - len(samples[0].workers)


def sample(group: int, seconds: float = 0.0) -> Sample:
    """The process group now."""
    workers: list[int] = []
    sums = dict.fromkeys(("worker_bytes", "worker_threads", "java_bytes", "java_threads"), 0)
    for pid in members(group):
        with suppress(psutil.Error):  # it has ended meanwhile
            process = psutil.Process(pid)
            is_worker = any(WORKER in word for word in process.cmdline())
            if not is_worker and process.name() != "java":
                continue
            kind = "worker" if is_worker else "java"
            sums[f"{kind}_bytes"] += process.memory_info().rss
            sums[f"{kind}_threads"] += process.num_threads()
            if is_worker:
                workers.append(pid)
    return Sample(seconds, tuple(sorted(workers)), **sums)

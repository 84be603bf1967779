"""Memory, threads and replacements of a running service's processes, sampled regularly."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from scripts.launch.process_groups import members

WORKER = "model_service_worker"  # in a worker's command line: ts/model_service_worker.py


@dataclass(frozen=True)
class ProcessSample:
    """The service's workers, summed, and its Java process at one moment."""

    seconds: float  # since monitoring began
    workers: tuple[int, ...]  # process ids
    worker_bytes: int  # resident
    worker_threads: int
    java_bytes: int  # resident
    java_threads: int


@contextmanager
def monitored(group: int, interval: float) -> Iterator[list[ProcessSample]]:
    """Sample the process group now and every `interval` seconds; yields the growing list."""
    samples: list[ProcessSample] = []
    stopped = threading.Event()
    began = time.monotonic()

    def monitor() -> None:
        while True:
            samples.append(sample_processes(group, time.monotonic() - began))
            if stopped.wait(interval):
                return

    thread = threading.Thread(target=monitor, name="process-monitor")
    thread.start()
    try:
        yield samples
    finally:
        stopped.set()
        thread.join()


def worker_deaths(samples: Sequence[ProcessSample]) -> int:
    """Number of workers that were replaced."""
    return len({pid for sample in samples for pid in sample.workers}) - len(samples[0].workers)


def sample_processes(group: int, seconds: float = 0.0) -> ProcessSample:
    """The process group now."""
    workers: list[int] = []
    worker_bytes = worker_threads = java_bytes = java_threads = 0
    for pid in members(group):
        with suppress(psutil.Error):  # it has ended meanwhile
            process = psutil.Process(pid)
            if any(WORKER in word for word in process.cmdline()):
                worker_bytes += process.memory_info().rss
                worker_threads += process.num_threads()
                workers.append(pid)
            elif process.name() == "java":
                java_bytes += process.memory_info().rss
                java_threads += process.num_threads()
    return ProcessSample(
        seconds, tuple(sorted(workers)), worker_bytes, worker_threads, java_bytes, java_threads
    )

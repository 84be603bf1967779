"""Interleaved timing: A B A B, so that whatever else the machine does affects all contenders."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tqdm import tqdm

Workload = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """A contender's median time. `speedup` is over the first contender of the section."""

    section: str
    contender: str
    milliseconds: float
    speedup: float


def time_interleaved(section: str, tasks: Mapping[str, Workload], rounds: int) -> list[Timing]:
    """The median time of each task over interleaved rounds, after a warm-up run of each."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()  # warm-up: allocations, packed weights, kernels chosen on a first run
    for _ in tqdm(range(rounds), section, leave=False, unit="round", disable=None):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(seconds) * 1e3 for name, seconds in times.items()}
    first = next(iter(medians.values()))
    return [Timing(section, name, ms, first / ms) for name, ms in medians.items()]

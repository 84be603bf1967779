"""Memory and threads of a soak's processes over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from scripts.stress.process_monitor import ProcessSample


def plot(samples: Sequence[ProcessSample], path: Path) -> None:
    """Write a PNG of 800x500 px."""
    minutes = [sample.seconds / 60 for sample in samples]
    figure = Figure(figsize=(8, 5))
    memory, threads = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    for name, sizes in (
        ("worker", [sample.worker_bytes for sample in samples]),
        ("Java", [sample.java_bytes for sample in samples]),
    ):
        memory.plot(minutes, [size / 2**20 for size in sizes], label=name, linewidth=1)
    threads.plot(minutes, [sample.worker_threads for sample in samples], linewidth=1)
    threads.plot(minutes, [sample.java_threads for sample in samples], linewidth=1)
    memory.set(ylabel="resident memory, MiB", ylim=(0, None))
    memory.legend(loc="lower right")
    threads.set(ylabel="threads", xlabel="minutes", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})

"""A soak as Markdown and a plot, for benchmarks/soak.md."""

from __future__ import annotations

import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from scripts.bench.hardware import processor_name
from scripts.stress.soak.figures import SoakFigures
from scripts.stress.soak.plot import plot
from serving.runtime.device import usable_cores
from serving.runtime.loading import ServedModel


def machine_conditions(model: ServedModel) -> dict[str, str]:
    """What the figures depend on, apart from the code."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    versions = {
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "TorchServe": version("torchserve"),
    }
    return {
        "date": date.today().isoformat(),
        "model": f"{model.preset.name}, {model.digest[:19]}",
        "processor": f"{processor_name()}, {usable_cores()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "GPU": gpu,
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def figures_table(figures: SoakFigures) -> str:
    """A table, and below it the criteria that failed and the first faults."""
    first, last = figures.samples[0], figures.samples[-1]
    peak = max(sample.worker_bytes for sample in figures.samples)
    rows = [
        *figures.machine.items(),
        ("duration", f"{figures.seconds / 60:.1f} min, {figures.clients} clients without a pause"),
        ("photos", f"{figures.photos}, each in every output format"),
        ("responses", f"{figures.responses}, {figures.per_second:.1f} per second"),
        (
            "latency",
            f"p50 {figures.p50:.2f} s, p99 {figures.p99:.2f} s, slowest {figures.slowest:.2f} s",
        ),
        ("wrong responses", str(figures.wrong)),
        ("unexpected errors", str(figures.errors)),
        ("worker deaths", str(figures.worker_deaths)),
        (
            "worker's memory",
            f"{mib(first.worker_bytes)} -> {mib(last.worker_bytes)}, peak {mib(peak)}; "
            f"after the first two minutes {growth_text(figures.worker_growth)} at rest, "
            f"{growth_text(figures.worker_median_growth)} in the median",
        ),
        (
            "Java's memory",
            f"{mib(first.java_bytes)} -> {mib(last.java_bytes)}; "
            f"after the first two minutes {growth_text(figures.java_growth)}",
        ),
        ("worker's threads", f"{first.worker_threads} -> {last.worker_threads}"),
        ("Java's threads", f"{first.java_threads} -> {last.java_threads}"),
        ("by category", ", ".join(f"{name} {n}" for name, n in figures.by_category.items())),
    ]
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    if failed := figures.failed_criteria():
        lines += ["", "Failed:", *(f"- **{text}**" for text in failed)]
    return "\n".join([*lines, *(f"- {fault}" for fault in figures.faults)])


def write_report(figures: SoakFigures, folder: Path) -> Path:
    """Write soak.md and soak.png into `folder`; returns the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    plot(figures.samples, folder / "soak.png")
    text = folder / "soak.md"
    text.write_text(
        f"# Soak\n\nOutput of `make soak MINUTES={figures.seconds / 60:.0f}` "
        "(scripts/soak.py): every response is checked against the expected one for its photo.\n\n"
        f"{figures_table(figures)}\n\n![Memory and threads over time](soak.png)\n",
        encoding="utf-8",
    )
    return text


def growth_text(share: float | None) -> str:
    return "too short to tell" if share is None else f"{share:+.1%}"


def mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"

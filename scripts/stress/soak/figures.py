"""A soak's figures, and the criteria that they must meet."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from scripts.common.terminal import UserError
from scripts.stress.process_monitor import ProcessSample, worker_deaths
from scripts.stress.soak.load import LoadRun
from scripts.stress.soak.memory_growth import memory_growth

MAX_MEMORY_GROWTH = 0.02  # share, of the worker's memory at rest
MAX_LISTED_FAULTS = 20


@dataclass(frozen=True)
class SoakFigures:
    """What a soak has shown; times in seconds, memory growth as a share."""

    machine: dict[str, str]
    seconds: float
    clients: int
    photos: int
    responses: int
    per_second: float
    p50: float
    p99: float
    slowest: float
    by_category: dict[str, int]
    wrong: int
    errors: int  # unexpected ones
    faults: list[str]  # the first of them
    worker_deaths: int
    worker_growth: float | None  # None: the soak was too short, or a worker was replaced
    worker_median_growth: float | None  # of the medians, which follow the load
    java_growth: float | None
    samples: list[ProcessSample]

    def failed_criteria(self) -> list[str]:
        growth = self.worker_growth or 0.0
        criteria = [
            (self.wrong == 0, f"{self.wrong} wrong responses"),
            (self.errors == 0, f"{self.errors} errors"),
            (self.worker_deaths == 0, f"{self.worker_deaths} workers died"),
            (
                growth < MAX_MEMORY_GROWTH,
                f"the worker grew by {growth:.1%}; the limit is {MAX_MEMORY_GROWTH:.0%}",
            ),
        ]
        return [text for met, text in criteria if not met]


def soak_figures(run: LoadRun, machine: dict[str, str], photos: int, clients: int) -> SoakFigures:
    """Raises UserError for fewer than two responses."""
    if len(run.responses) < 2:
        raise UserError("the soak was too short for a response")
    latencies = sorted(response.latency for response in run.responses)
    seconds = max(response.seconds for response in run.responses)
    faults = [response.fault for response in run.responses if response.fault]
    categories = [response.category for response in run.responses]
    deaths = worker_deaths(run.samples)
    worker = [(sample.seconds, sample.worker_bytes) for sample in run.samples]
    java = [(sample.seconds, sample.java_bytes) for sample in run.samples]
    return SoakFigures(
        machine=machine,
        seconds=seconds,
        clients=clients,
        photos=photos,
        responses=len(run.responses),
        per_second=len(run.responses) / seconds,
        p50=statistics.median(latencies),
        p99=statistics.quantiles(latencies, n=100, method="inclusive")[98],
        slowest=latencies[-1],
        by_category={name: categories.count(name) for name in sorted(set(categories))},
        wrong=sum(fault.severity == "wrong" for fault in faults),
        errors=sum(fault.severity == "error" for fault in faults),
        faults=[str(fault) for fault in faults[:MAX_LISTED_FAULTS]],
        worker_deaths=deaths,
        # A new worker starts small, and between two there is none: neither is growth.
        worker_growth=None if deaths else memory_growth(worker),
        worker_median_growth=None if deaths else memory_growth(worker, statistics.median),
        java_growth=memory_growth(java),
        samples=run.samples,
    )

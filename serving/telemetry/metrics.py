"""A batch's figures as samples for Prometheus. metrics.yaml declares and explains them.

A sample costs some 10 us in a worker, and more where an engine reads it from the worker's output.
So a batch writes one for each of its stages, not for each of its images.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from serving.telemetry.drift import Shares

# Classes with a share of their own; those beyond are one, OTHER. Each is a series in Prometheus.
MAX_CLASS_SERIES = 64
OTHER = "other"

GRAPH_EVENTS = "segmenter_cuda_graph_events_total"

# The output format of a request that could not be read.
NO_OUTPUT = "none"

# Characters that a label's value may not hold: separators of engines' metrics lines and the like.
UNSAFE_IN_LABEL = re.compile(r"[^A-Za-z0-9_. -]")


class Sample(NamedTuple):
    """A metric's name in metrics.yaml, a value, and its labels' values in the order there."""

    name: str
    value: float
    labels: Sequence[str] = ()


@dataclass
class BatchStats:
    """Figures of one batch of `requests`; the first has `request_id`."""

    requests: int
    request_id: str
    shapes: int = 0
    retries: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    images: Counter[tuple[str, str]] = field(default_factory=Counter)  # by (output, status)
    graph_events: Counter[str] = field(default_factory=Counter)  # as of cuda_graphs.GraphCounters

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started

    def count_retry(self) -> None:
        self.retries += 1

    def count_response(self, output: str | None, status: int) -> None:
        self.images[output or NO_OUTPUT, str(status)] += 1


def worker_start_samples() -> list[Sample]:
    """For a worker's start: a counter that first appears with an event hides that event."""
    return [
        Sample("segmenter_worker_starts_total", 1),
        Sample("segmenter_out_of_memory_retries_total", 0),
    ]


def batch_samples(stats: BatchStats) -> list[Sample]:
    """All figures of a batch; none of one without images, such as the viewer's page."""
    if not stats.images:
        return []
    samples = [
        *(Sample("segmenter_stage_seconds", s, (name,)) for name, s in stats.seconds.items()),
        Sample("segmenter_batch_seconds", sum(stats.seconds.values())),
        Sample("segmenter_batch_requests", stats.requests),
        *(Sample("segmenter_images_total", n, key) for key, n in stats.images.items()),
        *(Sample(GRAPH_EVENTS, n, (event,)) for event, n in stats.graph_events.items()),
    ]
    if stats.shapes:
        samples.append(Sample("segmenter_batch_shapes", stats.shapes))
    if stats.retries:
        samples.append(Sample("segmenter_out_of_memory_retries_total", stats.retries))
    return samples


def share_samples(shares: Shares, labels: Sequence[str]) -> list[Sample]:
    """`labels` are the classes'; the shares of labels that read the same are added."""
    sums: dict[str, float] = {}
    for index, (label, share) in enumerate(zip(labels, shares.classes)):
        name = UNSAFE_IN_LABEL.sub("_", label) if index < MAX_CLASS_SERIES else OTHER
        sums[name] = sums.get(name, 0.0) + share
    return [
        *(Sample("segmenter_class_share", share, (name,)) for name, share in sums.items()),
        Sample("segmenter_low_confidence_share", shares.low_confidence),
    ]

"""A batch's figures for TorchServe's Prometheus endpoint. metrics.yaml declares and explains them.

A sample is a line that TorchServe reads from the worker's output: some 10 us here, and more there.
So a batch writes one for each of its stages, not for each of its images.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from serving.telemetry.drift import Shares

# Classes with a share of their own; those beyond are one, OTHER. Each is a series in Prometheus.
MAX_CLASSES = 64
OTHER = "other"

# The output of a request that could not be read.
NO_OUTPUT = "none"

# What a label's value may not hold: the separators of TorchServe's lines, and all that is odd.
UNSAFE_IN_LABEL = re.compile(r"[^A-Za-z0-9_. -]")


class Sample(NamedTuple):
    """A metric's name in metrics.yaml, a value, and its labels' values in the order there."""

    name: str
    value: float
    labels: Sequence[str] = ()


@dataclass
class Batch:
    """What there is to tell of one batch of `requests`; the first has `request_id`."""

    requests: int
    request_id: str
    shapes: int = 0
    retries: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    images: Counter[tuple[str, str]] = field(default_factory=Counter)  # by (output, status)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started

    def retried(self) -> None:
        self.retries += 1

    def answered(self, output: str | None, status: int) -> None:
        self.images[output or NO_OUTPUT, str(status)] += 1


def starting() -> list[Sample]:
    """A worker's first words. A counter that only appears with its first event hides that event."""
    return [
        Sample("segmenter_worker_starts_total", 1),
        Sample("segmenter_out_of_memory_retries_total", 0),
    ]


def batch_samples(batch: Batch) -> list[Sample]:
    """All of a batch; nothing of one without images, the viewer's page or the model card."""
    if not batch.images:
        return []
    samples = [
        *(Sample("segmenter_stage_seconds", s, (name,)) for name, s in batch.seconds.items()),
        Sample("segmenter_batch_seconds", sum(batch.seconds.values())),
        Sample("segmenter_batch_requests", batch.requests),
        *(Sample("segmenter_images_total", n, key) for key, n in batch.images.items()),
    ]
    if batch.shapes:
        samples.append(Sample("segmenter_batch_shapes", batch.shapes))
    if batch.retries:
        samples.append(Sample("segmenter_out_of_memory_retries_total", batch.retries))
    return samples


def share_samples(shares: Shares, labels: Sequence[str]) -> list[Sample]:
    """`labels` are the classes'; of those that read the same the shares are added."""
    sums: dict[str, float] = {}
    for index, (label, share) in enumerate(zip(labels, shares.classes)):
        name = UNSAFE_IN_LABEL.sub("_", label) if index < MAX_CLASSES else OTHER
        sums[name] = sums.get(name, 0.0) + share
    return [
        *(Sample("segmenter_class_share", share, (name,)) for name, share in sums.items()),
        Sample("segmenter_low_confidence_share", shares.low_confidence),
    ]


def write(samples: Iterable[Sample], metrics: Any) -> None:
    """Write the samples that are declared to `metrics`, TorchServe's `context.metrics` or None."""
    declared = by_name(metrics)
    for name, value, labels in samples:
        if name in declared:
            declared[name].add_or_update(value, list(labels))


def by_name(metrics: Any) -> Mapping[str, Any]:
    """TorchServe's metrics of all types by their names, as metrics.yaml has them.

    Its own look-up takes a type from the package ts, which an archive does not import.
    """
    of_type: Mapping[object, Mapping[str, Any]] = getattr(metrics, "cache", {})
    return {name: metric for group in of_type.values() for name, metric in group.items()}

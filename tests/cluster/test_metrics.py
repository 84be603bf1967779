"""Samples become the metrics that metrics.yaml declares, without a cluster to export them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import ray.util.metrics

from cluster.metrics import NUMBERS, SECONDS, Metrics
from serving.telemetry.metrics import Sample

Recorded = list[tuple[str, float, Mapping[str, str]]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    found: Recorded = []

    def record(self: object, value: float, tags: Mapping[str, str]) -> None:
        found.append((self.info["name"], value, dict(tags)))  # type: ignore[attr-defined]

    for kind, method in (("Counter", "inc"), ("Gauge", "set"), ("Histogram", "observe")):
        monkeypatch.setattr(getattr(ray.util.metrics, kind), method, record)
    return found


def test_labels_have_their_names(recorded: Recorded) -> None:
    Metrics().record(
        [
            Sample("segmenter_images_total", 2, ("mask", "200")),
            Sample("segmenter_class_share", 0.5, ("road",)),
            Sample("segmenter_stage_seconds", 0.1, ("decode",)),
            Sample("Requests2XX", 1, ("Host", "here")),
        ]
    )
    assert recorded == [
        ("segmenter_images_total", 2, {"output": "mask", "status": "200"}),
        ("segmenter_class_share", 0.5, {"class": "road"}),
        ("segmenter_stage_seconds", 0.1, {"stage": "decode"}),
        ("Requests2XX", 1, {"Level": "Host", "Hostname": "here"}),
    ]


def test_what_is_not_declared_and_counts_of_nothing_are_dropped(recorded: Recorded) -> None:
    samples = [Sample("segmenter_out_of_memory_retries_total", 0), Sample("unheard_of", 1)]
    Metrics().record(samples)
    assert recorded == []


def test_the_middles_of_buckets_of_numbers_are_the_numbers() -> None:
    middles = [(low + high) / 2 for low, high in zip(NUMBERS, NUMBERS[1:], strict=False)]
    assert middles == list(range(1, 33))
    metrics = Metrics()
    assert metrics.histograms["segmenter_batch_requests"].info["boundaries"] == NUMBERS
    assert metrics.histograms["segmenter_batch_seconds"].info["boundaries"] == SECONDS

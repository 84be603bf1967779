from __future__ import annotations

import pytest
import torch

from serving.telemetry.metrics import BatchStats, Sample
from serving.telemetry.reporter import Reporter

LOGITS = torch.tensor([9.0, 0.0]).view(1, 2, 1, 1)


def batch_of_one() -> BatchStats:
    stats = BatchStats(1, "id")
    stats.count_response("mask", 200)
    return stats


def shares(samples: list[Sample]) -> list[tuple[float, list[str]]]:
    found = [sample for sample in samples if sample.name == "segmenter_class_share"]
    return [(sample.value, list(sample.labels)) for sample in found]


def test_shares_are_reported_with_the_first_photo_and_then_not_for_each() -> None:
    reporter = Reporter(["road", "car"])
    assert shares(reporter.samples(batch_of_one(), None)) == []
    assert shares(reporter.samples(batch_of_one(), LOGITS)) == [(1, ["road"]), (0, ["car"])]
    for _ in range(2):
        assert shares(reporter.samples(batch_of_one(), LOGITS)) == []


def test_a_failure_costs_no_response(caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(["road", "car"])
    assert reporter.samples(batch_of_one(), torch.zeros(0)) == []
    assert "no metrics for the batch with request id" in caplog.text

"""The figures of batches on their way to TorchServe."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from serving.telemetry.metrics import Batch
from serving.telemetry.reporter import Reporter


class Declared:
    """A metric that keeps what it is given."""

    def __init__(self) -> None:
        self.written: list[tuple[float, list[str]]] = []

    def add_or_update(self, value: float, labels: list[str]) -> None:
        self.written.append((value, labels))


LOGITS = torch.tensor([9.0, 0.0]).view(1, 2, 1, 1)


def answered_batch() -> Batch:
    batch = Batch(1, "id")
    batch.answered("mask", 200)
    return batch


def test_shares_are_written_with_the_first_photo_and_then_not_for_each() -> None:
    shares = Declared()
    metrics = SimpleNamespace(cache={"gauge": {"segmenter_class_share": shares}})
    reporter = Reporter(["road", "car"])
    reporter.report(answered_batch(), ["an answer instead of logits"], metrics)
    assert shares.written == []
    for _ in range(3):
        reporter.report(answered_batch(), [LOGITS, LOGITS], metrics)
    assert shares.written == [(1, ["road"]), (0, ["car"])]


def test_what_fails_there_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    broken = SimpleNamespace(cache={"counter": {"segmenter_batch_requests": object()}})
    Reporter(["road", "car"]).report(answered_batch(), [LOGITS], broken)
    assert "figures are lost of the batch with request id" in caplog.text

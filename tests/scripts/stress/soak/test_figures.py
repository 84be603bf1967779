"""What fails a soak, and how its figures are written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

from scripts.common.terminal import UserError
from scripts.stress.process_monitor import ProcessSample
from scripts.stress.soak.figures import SoakFigures, soak_figures
from scripts.stress.soak.load import CheckedResponse, Fault, LoadRun
from scripts.stress.soak.report import figures_table, write_report

MIB = 2**20
CORRECT = CheckedResponse("mask", 1.0, 0.5)
WRONG = Fault("wrong", "mask", "200 OK")
ERROR = Fault("error", "mask", "503 Service Unavailable")


def samples_of(sizes: list[int], pid: int = 1) -> list[ProcessSample]:
    """One sample per second; `sizes` in MiB."""
    return [
        ProcessSample(float(at), (pid,), size * MIB, 9, 200 * MIB, 40)
        for at, size in enumerate(sizes)
    ]


def figures_of(samples: list[ProcessSample], *faults: Fault) -> SoakFigures:
    """Of two correct responses and of one with each fault."""
    faulty = [CheckedResponse("mask", 2.0 + at, 0.5, fault) for at, fault in enumerate(faults)]
    run = LoadRun([CORRECT, CORRECT, *faulty], samples, finished=True)
    return soak_figures(run, {"model": "tiny"}, photos=6, clients=4)


def test_each_criterion_can_fail() -> None:
    steady = samples_of([700] * 400)
    assert figures_of(steady).failed_criteria() == []
    assert figures_of(steady, WRONG).failed_criteria() == ["1 wrong responses"]
    assert figures_of(steady, ERROR).failed_criteria() == ["1 errors"]
    growing = figures_of(samples_of([700] * 420 + [800] * 400))
    assert growing.failed_criteria() == ["the worker grew by 14.3%; the limit is 2%"]
    assert "the worker grew by 14.3%" in figures_table(growing)
    died = figures_of([*samples_of([700] * 200), *samples_of([700] * 200, pid=2)])
    assert died.failed_criteria() == ["1 workers died"]


def test_a_soak_without_responses_has_no_figures() -> None:
    with pytest.raises(UserError, match="too short"):
        soak_figures(LoadRun([CORRECT], samples_of([700]), False), {}, photos=6, clients=4)


def test_faults_are_listed() -> None:
    assert figures_of(samples_of([700] * 3), WRONG, ERROR).faults == [
        "wrong: mask: 200 OK",
        "error: mask: 503 Service Unavailable",
    ]


def test_figures_can_be_written_as_json() -> None:
    figures = json.loads(json.dumps(asdict(figures_of(samples_of([700] * 3)))))
    assert figures["worker_growth"] is None


def test_the_report_is_text_and_a_plot(tmp_path: Path) -> None:
    text = write_report(figures_of(samples_of([700] * 3)), tmp_path).read_text()
    assert "| wrong responses | 0 |" in text
    with Image.open(tmp_path / "soak.png") as picture:
        assert picture.size == (800, 500)

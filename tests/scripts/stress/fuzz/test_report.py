"""The campaign's table, its criteria, and the files of its failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.stress.fuzz.campaign import FuzzReport
from scripts.stress.fuzz.hostile_requests import HostileRequest
from scripts.stress.fuzz.outcome import HUNG, Outcome
from scripts.stress.fuzz.report import criteria, outcome_table, save_failures, succeeded

REQUEST = HostileRequest(7, "image truncated", b"POST / HTTP/1.1\r\n\r\n")
REFUSED = Outcome(REQUEST, 400, True, 0.1, b'{"error": {"code": "x", "message": "y"}}')
GOOD = FuzzReport([REFUSED], deaths=0, memory_before=100, memory_after=104)


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (GOOD, [True, True, True, True]),
        (replace(GOOD, deaths=1), [False, True, True, True]),
        (replace(GOOD, outcomes=[replace(REFUSED, status=500)]), [True, False, True, True]),
        (replace(GOOD, outcomes=[replace(REFUSED, seconds=10.1)]), [True, True, False, True]),
        (replace(GOOD, memory_after=106), [True, True, True, False]),
    ],
)
def test_each_criterion_can_fail(report: FuzzReport, expected: list[bool]) -> None:
    assert [met for met, _ in criteria(report)] == expected
    assert succeeded(report) == all(expected)
    assert outcome_table(report).count("BAD") == expected.count(False)


def test_the_table_counts_categories_and_statuses() -> None:
    outcomes = [REFUSED, REFUSED, replace(REFUSED, status=200)]
    lines = outcome_table(replace(GOOD, outcomes=outcomes)).splitlines()
    assert lines[0].split() == ["200", "400"]
    assert lines[1].split() == ["image", "truncated", "1", "2"]
    assert lines[2].split() == ["all", "1", "2"]


def test_failed_requests_are_saved(tmp_path: Path) -> None:
    folder = tmp_path / "failed"
    save_failures([replace(REFUSED, status=HUNG), REFUSED], folder)
    assert (folder / "7.request").read_bytes() == REQUEST.wire
    assert b"hung" in (folder / "7.response").read_bytes()
    assert len([*folder.iterdir()]) == 2

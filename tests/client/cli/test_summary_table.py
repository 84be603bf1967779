"""`--summary`: a table of the classes in every image."""

from __future__ import annotations

import csv
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from segmenter_client.cli.program import main
from segmenter_client.cli.summary_table import SummaryTable
from segmenter_client.cli.table_rows import COLUMNS
from segmenter_client.cli.terminal import UserError
from tests.client.cli.journal_server import Journal, files_in, journal_server, write_files
from tests.client.cli.test_run import start, wait_until

TIMEOUT = 60  # seconds: a bound against hanging


def table(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_row_for_each_class_and_failure(here: Path, suffix: str) -> None:
    write_files(here / "in", 3)
    path = here / f"classes{suffix}"
    with journal_server(Journal(lambda n: (500 if n == 1 else 200, {}))) as journal:
        arguments = ["in", "--url", journal.url, "--concurrency", "1", "--summary", path.name]
        assert main(arguments) == 1
        assert journal.outputs == {"mask,json": 3}
    rows = table(path)
    assert [tuple(row) for row in rows] == [COLUMNS] * 3
    assert [row["file"] for row in rows] == [f"in/00{index}.jpg" for index in range(3)]
    assert [row["status"] for row in rows] == ["ok", "c: m", "ok"]
    assert [row["class"] or None for row in rows] == ["class 2", None, "class 1"]
    assert [row["share"] and float(row["share"]) for row in rows][::2] == [1, 1]
    assert [row["confidence"] and float(row["confidence"]) for row in rows][::2] == [0.5, 0.5]
    assert files_in(here) == [
        *(path.name, "in/000.jpg", "in/001.jpg", "in/002.jpg"),
        *("segmented/in/000.jpg.mask.png", "segmented/in/002.jpg.mask.png"),
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_second_run_completes_the_table(here: Path, suffix: str) -> None:
    write_files(here / "in", 3)
    path = here / f"classes{suffix}"
    with journal_server(Journal(lambda n: (500 if n == 1 else 200, {}))) as journal:
        arguments = ["in", "--url", journal.url, "--concurrency", "1", "--summary", path.name]
        assert main(arguments) == 1
        first = table(path)
        assert main(arguments) == 0
        assert len(journal.times) == 4
        assert main(arguments) == 0  # nothing to do: the table stays
        assert len(journal.times) == 4
    rows = table(path)
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert [rows[0], rows[2]] == [first[0], first[2]]


def test_images_that_have_all_but_their_rows_are_requested_for_these(here: Path) -> None:
    write_files(here / "in", 2)
    with journal_server(Journal()) as journal:
        assert main(["in", "--url", journal.url]) == 0
        assert main(["in", "--url", journal.url, "--summary", "classes.csv"]) == 0
        assert journal.outputs == {"mask": 2, "json": 2}
    assert len(table(here / "classes.csv")) == 2
    assert not list(here.rglob("*.json"))  # a file of it was not wanted


@pytest.mark.slow
def test_a_killed_run_loses_no_row(here: Path) -> None:
    paths = write_files(here / "in", 40)
    with journal_server(Journal(pause=0.03)) as journal:
        arguments = ["in", "--url", journal.url, "--concurrency", "2", "--summary", "table.csv"]
        process = start(*arguments)
        wait_until(lambda: journal.num_served >= 10)
        process.send_signal(signal.SIGKILL)
        process.wait(TIMEOUT)
        wait_until(lambda: journal.in_flight == 0)
        assert not (here / "table.csv").exists()
        with (here / "table.csv.journal").open("a") as file:
            file.write('[["in/0')  # torn
        process = start(*arguments)
        wait_until(lambda: journal.num_served >= 20)
        process.send_signal(signal.SIGKILL)
        process.wait(TIMEOUT)
        wait_until(lambda: journal.in_flight == 0)
        assert main(arguments) == 0
        assert sum(journal.bodies.values()) <= len(paths) + 4
    assert [row["file"] for row in table(here / "table.csv")] == [f"in/{p.name}" for p in paths]
    assert not (here / "table.csv.journal").exists()


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b",".join([b"file"] * 3), b"\xff\xfe"])
def test_another_file_is_not_overwritten(
    here: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    write_files(here / "in", 1)
    (here / "table.csv").write_bytes(content)
    assert main(["in", "--summary", "table.csv"]) == 2
    assert "is not a table of an earlier run" in capsys.readouterr().err
    assert (here / "table.csv").read_bytes() == content


def test_another_parquet_file_is_not_overwritten(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(here / "in", 1)
    (here / "table.parquet").write_bytes(b"PAR1")
    assert main(["in", "--summary", "table.parquet"]) == 2
    assert "is not a table of an earlier run" in capsys.readouterr().err


def test_a_table_that_cannot_be_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(here / "in", 1)
    (here / "table.csv").mkdir()
    assert main(["in", "--summary", "table.csv"]) == 2
    assert "cannot write to table.csv: Is a directory" in capsys.readouterr().err


def test_a_full_disk_is_no_images_fault() -> None:
    with (
        open("/dev/full", "wb", buffering=0) as journal,
        pytest.raises(UserError, match="cannot write to /dev/full: No space left on device"),
    ):
        SummaryTable({}, journal).fail("a.jpg", "gone")


def test_parquet_without_its_package(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(here / "in", 1)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert main(["in", "--summary", "table.parquet"]) == 2
    assert "segmenter-client[exporters]" in capsys.readouterr().err


def test_names_of_any_bytes(here: Path) -> None:
    (here / "in").mkdir()
    name = os.fsdecode(b"in/\xff\xfe.jpg")
    Path(name).write_bytes(b"x")
    with journal_server(Journal()) as journal:
        for _ in range(2):
            assert main([name, "--url", journal.url, "--summary", "table.csv"]) == 0
        assert len(journal.times) == 1
    assert [row["file"] for row in table(here / "table.csv")] == ["in/\\xff\\xfe.jpg"]

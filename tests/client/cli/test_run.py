"""`segmenter` over many images: retries, failures, bounds, and runs stopped and resumed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.common.terminal import ROOT
from scripts.launch.ports import free_ports
from segmenter_client.cli.access import TOKEN_VARIABLE
from segmenter_client.cli.folder_lock import locked_folder
from segmenter_client.cli.program import main
from segmenter_client.cli.run import MAX_UNSERVED
from tests.client.cli.journal_server import CUT, Journal, files_in, journal_server, write_files

TIMEOUT = 60  # seconds: a bound against hanging


@pytest.mark.parametrize("status", [429, 503, 0])
def test_a_busy_service_is_tried_again(here: Path, quick: None, status: int) -> None:
    write_files(here / "in", 4)
    with journal_server(Journal(lambda n: (status if n < 8 else 200, {}))) as journal:
        assert main(["in", "--url", journal.url]) == 0
    assert journal.num_served == 4
    assert len(journal.times) == 12


def test_a_response_that_breaks_off_is_retried(here: Path, quick: None) -> None:
    write_files(here / "in", 4)
    with journal_server(Journal(lambda n: (200, CUT if n < 8 else {}))) as journal:
        assert main(["in", "--url", journal.url]) == 0
    assert journal.num_served == 4
    assert len(journal.times) == 12


def test_an_image_whose_responses_all_break_off_fails_alone(
    here: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(here / "in", 5)
    with journal_server(Journal(lambda n: (200, CUT if n in (2, 3) else {}))) as journal:
        options = ["--retries", "1", "--concurrency", "1"]
        assert main(["in", "--url", journal.url, *options]) == 1
    assert journal.num_served == 4
    printed = capsys.readouterr().err
    assert "failed: in/002.jpg" in printed
    assert "broke off" in printed


def test_nobody_listening_stops_the_run(
    here: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(here / "in", 50)
    url = f"http://127.0.0.1:{free_ports().inference}/predictions/segmenter"
    assert main(["in", "--url", url, "--retries", "2"]) == 1
    printed = capsys.readouterr().err
    assert "refused" in printed
    assert "not finished" in printed


def test_retry_after_is_waited_for(here: Path, quick: None) -> None:
    write_files(here / "in", 1)
    reply = Journal(lambda n: (503 if n == 0 else 200, {"Retry-After": "1"}))
    with journal_server(reply) as journal:
        assert main(["in", "--url", journal.url]) == 0
    assert journal.times[1] - journal.times[0] >= 1


def test_other_failures_are_not_retried(
    here: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(here / "in", 3)
    with journal_server(Journal(lambda n: (500 if n == 1 else 200, {}))) as journal:
        assert main(["in", "--url", journal.url, "--concurrency", "1"]) == 1
    assert len(journal.times) == 3
    assert "failed: in/001.jpg: c: m" in capsys.readouterr().err
    assert files_in(here / "segmented") == ["in/000.jpg.mask.png", "in/002.jpg.mask.png"]


def test_a_wrong_token_stops_the_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(here / "in", 50)
    with journal_server(Journal(lambda n: (401, {}))) as journal:
        assert main(["in", "--url", journal.url, "--concurrency", "2"]) == 1
    assert len(journal.times) < 10
    assert "not finished" in capsys.readouterr().err


@pytest.mark.parametrize("status", [429, 502, 503, 0])
def test_a_service_that_stays_busy_stops_the_run(
    here: Path, quick: None, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    write_files(here / "in", 50)
    with journal_server(Journal(lambda n: (status, {}))) as journal:
        options = ["--retries", "1", "--concurrency", "2"]
        assert main(["in", "--url", journal.url, *options]) == 1
    assert len(journal.times) == pytest.approx(2 * MAX_UNSERVED, abs=4)
    assert "not finished" in capsys.readouterr().err


def test_one_image_that_is_never_served_does_not(here: Path, quick: None) -> None:
    write_files(here / "in", 5)
    with journal_server(Journal(lambda n: (503 if n in (2, 3) else 200, {}))) as journal:
        options = ["--retries", "1", "--concurrency", "1"]
        assert main(["in", "--url", journal.url, *options]) == 1
    assert journal.num_served == 4


def test_the_token_of_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(here / "in", 1)
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    with journal_server(Journal()) as journal:
        assert main(["in", "--url", journal.url]) == 0
    assert journal.tokens == {"Bearer secret"}


def test_requests_in_flight_are_bounded(here: Path) -> None:
    write_files(here / "in", 60)
    with journal_server(Journal(pause=0.02)) as journal:
        assert main(["in", "--url", journal.url, "--concurrency", "5"]) == 0
    assert journal.most_in_flight == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_killed_and_resumed(here: Path, number: signal.Signals) -> None:
    """Every image is served once, those in flight at the kill at most twice."""
    concurrency = 4
    paths = write_files(here / "in", 80)
    with journal_server(Journal(pause=0.05)) as journal:
        arguments = ["in", "--url", journal.url, "--concurrency", str(concurrency)]
        process = start(*arguments)
        wait_until(lambda: journal.num_served >= 20)
        process.send_signal(number)
        assert process.wait(TIMEOUT) == (130 if number == signal.SIGINT else -signal.SIGKILL)
        done = [name for name in files_in(here / "segmented") if not name.endswith(".part")]
        assert 0 < len(done) < len(paths)
        for name in done:
            opened(here / "segmented" / name).load()
        wait_until(lambda: journal.in_flight == 0)
        assert main(arguments) == 0
    assert files_in(here / "segmented") == [f"in/{path.name}.mask.png" for path in paths]
    assert set(journal.bodies) == {path.read_bytes() for path in paths}
    assert sum(journal.bodies.values()) <= len(paths) + concurrency
    for path in paths:
        mask = np.array(opened(here / f"segmented/in/{path.name}.mask.png"))
        assert mask.item() == len(path.read_bytes()) % 5


def test_a_stopped_run_does_not_wait_for_its_requests(here: Path) -> None:
    write_files(here / "in", 8)
    with journal_server(Journal(pause=5)) as journal:
        process = start("in", "--url", journal.url)
        wait_until(lambda: journal.in_flight == 8)
        stopped = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130
        assert time.monotonic() - stopped < 4


def test_a_second_run_into_a_folder_is_kept_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(here / "in", 1)
    with locked_folder(here / "segmented"):
        assert main(["in"]) == 2
    assert "another run is writing to" in capsys.readouterr().err


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.segment", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))

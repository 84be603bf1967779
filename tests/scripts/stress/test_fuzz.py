from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.launch.ports import HOST, free_ports
from scripts.launch.torchserve import Service
from scripts.stress.fuzz import (
    CLOSED,
    HUNG,
    Outcome,
    Report,
    bars,
    keep,
    send,
    table,
    without_weight,
)
from scripts.stress.hostile_requests import Input

ASKED = Input(7, "image cut", b"POST / HTTP/1.1\r\n\r\n")
SIGNED = b"Model-Name: m\r\n"
OURS = Outcome(ASKED, 400, True, 0.1, b'{"error": {"code": "x", "message": "y"}}')


@contextmanager
def answering(answer: bytes | None) -> Iterator[Service]:
    """A server that gives one answer to whatever it is sent; None: it listens, and says nothing."""
    with socket.create_server((HOST, 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                if answer is None:
                    done.wait(30)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        ports = replace(free_ports(), inference=listener.getsockname()[1])
        try:
            yield Service(Path(), ports, group=0)
        finally:
            done.set()
            thread.join()


def http(status: int, body: bytes, head: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %d X\r\n" % status + head + length + b"\r\n" + body


@pytest.mark.parametrize(
    ("answer", "column", "fault"),
    [
        (http(200, b"mask", SIGNED), "200", None),
        (http(413, OURS.body, SIGNED), "413", None),
        (http(400, b"Traceback", SIGNED), "400", "an error that is not the service's JSON"),
        (http(404, b"", b""), "404 frontend", None),
        (http(500, b'{"type": "ErrorDataDecoderException"}'), "500 frontend", None),
        (
            http(500, b'{"type": "InternalServerException", "message": "Worker died."}'),
            "500 frontend",
            "status 500",
        ),
        (http(503, b"Prediction failed"), "503 frontend", "status 503"),
        (http(500, OURS.body, SIGNED), "500", "status 500"),
        (b"", CLOSED, "closed without an answer"),
    ],
)
def test_what_came_back_is_judged(answer: bytes, column: str, fault: str | None) -> None:
    with answering(answer) as service:
        outcome = send(service, ASKED)
    assert (outcome.column, outcome.fault) == (column, fault)


def test_an_error_has_no_body_where_head_was_asked() -> None:
    head = replace(ASKED, request=b"HEAD / HTTP/1.1\r\n\r\n")
    with answering(http(400, b"", SIGNED)) as service:
        outcome = send(service, head)
    assert (outcome.status, outcome.fault) == (400, None)
    assert without_weight(outcome).fault is None


def test_what_hangs_is_given_up() -> None:
    with answering(None) as service:
        outcome = send(service, ASKED, patience=0.2)
    assert outcome.status == HUNG
    assert outcome.fault


def test_half_a_request_need_not_be_answered() -> None:
    with answering(b"") as service:
        outcome = send(service, replace(ASKED, whole=False))
    assert (outcome.status, outcome.fault) == (CLOSED, None)


GOOD = Report([OURS], deaths=0, memory_before=100, memory_after=104)


@pytest.mark.parametrize(
    ("report", "held"),
    [
        (GOOD, [True, True, True, True]),
        (replace(GOOD, deaths=1), [False, True, True, True]),
        (replace(GOOD, outcomes=[replace(OURS, status=500)]), [True, False, True, True]),
        (replace(GOOD, outcomes=[replace(OURS, seconds=10.1)]), [True, True, False, True]),
        (replace(GOOD, memory_after=106), [True, True, True, False]),
    ],
)
def test_each_bar_can_break(report: Report, held: list[bool]) -> None:
    assert [ok for ok, _ in bars(report)] == held
    assert table(report).count("BAD") == held.count(False)


def test_the_table_counts_kinds_and_statuses() -> None:
    lines = table(replace(GOOD, outcomes=[OURS, OURS, replace(OURS, status=200)])).splitlines()
    assert lines[0].split() == ["200", "400"]
    assert lines[1].split() == ["image", "cut", "1", "2"]
    assert lines[2].split() == ["all", "1", "2"]


def test_only_failing_inputs_are_remembered_whole() -> None:
    light = without_weight(replace(OURS, status=200, body=b"mask"))
    assert (light.input.seed, light.input.request) == (7, b"POST")
    assert (light.body, light.fault) == (b"", None)
    for failing in (replace(OURS, status=500), replace(OURS, body=b"?"), replace(OURS, seconds=11)):
        assert without_weight(failing) == failing


def test_failing_inputs_are_kept(tmp_path: Path) -> None:
    keep([replace(OURS, status=HUNG)], tmp_path / "failed")
    assert (tmp_path / "failed" / "7.request").read_bytes() == ASKED.request
    assert b"hung" in (tmp_path / "failed" / "7.answer").read_bytes()

"""What comes back over the wire is judged correctly, and only failures are kept whole."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.launch.instance import Instance
from scripts.launch.ports import HOST, free_ports
from scripts.stress.fuzz.connection import send
from scripts.stress.fuzz.hostile_requests import HostileRequest
from scripts.stress.fuzz.outcome import CLOSED, HUNG, Outcome, without_payload

REQUEST = HostileRequest(7, "image truncated", b"POST / HTTP/1.1\r\n\r\n")
SIGNED = b"Model-Name: m\r\n"
FROM_HANDLER = Outcome(REQUEST, 400, True, 0.1, b'{"error": {"code": "x", "message": "y"}}')


@contextmanager
def responding(response: bytes | None) -> Iterator[Instance]:
    """A server that sends these bytes to its one client; None: it accepts, and stays silent."""
    with socket.create_server((HOST, 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                if response is None:
                    done.wait(30)
                else:
                    connection.sendall(response)

        thread = threading.Thread(target=serve)
        thread.start()
        ports = replace(free_ports(), inference=listener.getsockname()[1])
        try:
            yield Instance(Path(), ports, group=0)
        finally:
            done.set()
            thread.join()


def http(status: int, body: bytes, head: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %d X\r\n" % status + head + length + b"\r\n" + body


@pytest.mark.parametrize(
    ("response", "column", "fault"),
    [
        (http(200, b"mask", SIGNED), "200", None),
        (http(413, FROM_HANDLER.body, SIGNED), "413", None),
        (http(400, b'{"error": "image_empty: No image."}', SIGNED), "400", None),
        (http(400, b'{"error": "?"}', SIGNED), "400", "an error that is not the service's JSON"),
        (http(400, b"Traceback", SIGNED), "400", "an error that is not the service's JSON"),
        (http(404, b"", b""), "404 frontend", None),
        (http(500, b'{"type": "ErrorDataDecoderException"}'), "500 frontend", None),
        (
            http(500, b'{"type": "InternalServerException", "message": "Worker died."}'),
            "500 frontend",
            "status 500",
        ),
        (http(503, b"Prediction failed"), "503 frontend", "status 503"),
        (http(500, FROM_HANDLER.body, SIGNED), "500", "status 500"),
        (b"", CLOSED, "closed without a response"),
    ],
)
def test_responses_are_judged(response: bytes, column: str, fault: str | None) -> None:
    with responding(response) as instance:
        outcome = send(instance, REQUEST)
    assert (outcome.column, outcome.fault) == (column, fault)


def test_the_response_to_head_has_no_body() -> None:
    head = replace(REQUEST, wire=b"HEAD / HTTP/1.1\r\n\r\n")
    with responding(http(400, b"", SIGNED)) as instance:
        outcome = send(instance, head)
    assert (outcome.status, outcome.fault) == (400, None)
    assert without_payload(outcome).fault is None


def test_a_request_that_hangs_is_given_up() -> None:
    with responding(None) as instance:
        outcome = send(instance, REQUEST, timeout=0.2)
    assert outcome.status == HUNG
    assert outcome.fault


def test_half_a_request_needs_no_response() -> None:
    with responding(b"") as instance:
        outcome = send(instance, replace(REQUEST, complete=False))
    assert (outcome.status, outcome.fault) == (CLOSED, None)


def test_only_failed_requests_keep_their_payload() -> None:
    light = without_payload(replace(FROM_HANDLER, status=200, body=b"mask"))
    assert (light.request.seed, light.request.wire) == (7, b"POST")
    assert (light.body, light.fault) == (b"", None)
    for failed in (
        replace(FROM_HANDLER, status=500),
        replace(FROM_HANDLER, body=b"?"),
        replace(FROM_HANDLER, seconds=11),
    ):
        assert without_payload(failed) == failed

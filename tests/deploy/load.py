"""Clients that keep a service busy, and check each single response."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import requests

TIMEOUT = 180.0  # seconds: a bound against hanging

# A request's body, and whether a response is the one to that body.
CheckedRequest = tuple[bytes, Callable[[requests.Response], bool]]

# By a client's number and the number of its request.
RequestMaker = Callable[[int, int], CheckedRequest]


@dataclass(frozen=True)
class Endpoint:
    """A URL, and what a client needs to be let in."""

    url: str
    token: str | None = None
    certificate: Path | None = None

    def session(self) -> requests.Session:
        http = requests.Session()
        http.trust_env = False
        http.verify = str(self.certificate) if self.certificate else True
        if self.token:
            http.headers["Authorization"] = f"Bearer {self.token}"
        return http

    def post(self, body: bytes) -> requests.Response:
        with self.session() as http:
            return http.post(self.url, data=body, timeout=TIMEOUT)


@dataclass
class Load:
    """The outcomes of the clients' requests so far.

    `outcomes` counts "ok", "another's response", "refused" (the connection, before anything was
    sent), and failures, by status or exception. `longest` is in seconds.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, outcome: str, seconds: float) -> None:
        with self.lock:
            self.outcomes[outcome] += 1
            self.longest = max(self.longest, seconds)

    @property
    def succeeded(self) -> int:
        with self.lock:
            return self.outcomes["ok"]

    @property
    def failed(self) -> dict[str, int]:
        with self.lock:
            return {what: n for what, n in self.outcomes.items() if what not in ("ok", "refused")}

    def wait_for(self, responses: int) -> None:
        """Return when that many more requests have succeeded."""
        goal = self.succeeded + responses
        deadline = time.monotonic() + TIMEOUT
        while self.succeeded < goal:
            missing = goal - self.succeeded
            assert time.monotonic() < deadline, f"{missing} missing: {self.outcomes}"
            time.sleep(0.01)


@contextlib.contextmanager
def loaded(endpoint: Endpoint, clients: int, make_request: RequestMaker) -> Iterator[Load]:
    """`clients` that send requests without a pause, until the block ends or they are refused."""
    load = Load()
    threads = [
        threading.Thread(target=send_all, args=(endpoint, load, client, make_request))
        for client in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stopped.set()
        for thread in threads:
            thread.join(TIMEOUT)


def send_all(endpoint: Endpoint, load: Load, client: int, make_request: RequestMaker) -> None:
    number = 0
    with endpoint.session() as http:
        while not load.stopped.is_set():
            body, is_right = make_request(client, number)
            started = time.monotonic()
            outcome = outcome_of(http, endpoint.url, body, is_right)
            load.note(outcome, time.monotonic() - started)
            if outcome == "refused":
                return
            number += 1


def outcome_of(
    http: requests.Session, url: str, body: bytes, is_right: Callable[[requests.Response], bool]
) -> str:
    watched = WatchedBody(body)
    try:
        response = http.post(url, data=watched, timeout=TIMEOUT)
    except requests.RequestException as error:
        return repr(error) if watched.begun else "refused"
    if response.status_code != requests.codes.ok:
        return str(response.status_code)
    return "ok" if is_right(response) else "another's response"


class WatchedBody(io.BytesIO):
    """A body that knows whether it is being sent, which means that there is a connection."""

    begun = False

    def read(self, size: int | None = -1) -> bytes:
        self.begun = True
        return super().read(size)

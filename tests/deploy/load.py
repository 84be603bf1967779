"""Clients that keep a service busy, and hold it to each single answer."""

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

# A client's request: its body, and whether an answer is the one to that body.
Question = tuple[bytes, Callable[[requests.Response], bool]]


@dataclass(frozen=True)
class Endpoint:
    """Where requests go, and what a client has to show for it."""

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
    """What has come of the clients' requests so far.

    `outcomes` counts "ok", "another's answer", "refused" (before anything of it was sent), and
    failures, by status or exception.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0  # seconds
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, outcome: str, seconds: float) -> None:
        with self.lock:
            self.outcomes[outcome] += 1
            self.longest = max(self.longest, seconds)

    @property
    def answered(self) -> int:
        with self.lock:
            return self.outcomes["ok"]

    @property
    def failed(self) -> dict[str, int]:
        with self.lock:
            return {what: n for what, n in self.outcomes.items() if what not in ("ok", "refused")}

    def wait_for(self, answers: int) -> None:
        """Return when that many more have come."""
        goal = self.answered + answers
        deadline = time.monotonic() + TIMEOUT
        while self.answered < goal:
            assert time.monotonic() < deadline, f"{goal - self.answered} missing: {self.outcomes}"
            time.sleep(0.01)


@contextlib.contextmanager
def loaded(
    endpoint: Endpoint, clients: int, question: Callable[[int, int], Question]
) -> Iterator[Load]:
    """`clients` that ask without a pause, until the block is left or they are refused.

    `question(client, number)` is what a client asks as its request of that number.
    """
    load = Load()
    threads = [
        threading.Thread(target=ask_on, args=(endpoint, load, client, question))
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


def ask_on(
    endpoint: Endpoint, load: Load, client: int, question: Callable[[int, int], Question]
) -> None:
    number = 0
    with endpoint.session() as http:
        while not load.stopped.is_set():
            body, is_right = question(client, number)
            started = time.monotonic()
            outcome = outcome_of(http, endpoint.url, body, is_right)
            load.note(outcome, time.monotonic() - started)
            if outcome == "refused":
                return
            number += 1


def outcome_of(
    http: requests.Session, url: str, body: bytes, is_right: Callable[[requests.Response], bool]
) -> str:
    sent = Sent(body)
    try:
        answer = http.post(url, data=sent, timeout=TIMEOUT)
    except requests.RequestException as error:
        return repr(error) if sent.begun else "refused"
    if answer.status_code != requests.codes.ok:
        return str(answer.status_code)
    return "ok" if is_right(answer) else "another's answer"


class Sent(io.BytesIO):
    """A body that knows whether it has been asked for: until then no connection is made."""

    begun = False

    def read(self, size: int | None = -1) -> bytes:
        self.begun = True
        return super().read(size)

"""Load on a service: clients that send requests without a pause and check every response."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import requests
from tqdm import tqdm

from scripts.common.terminal import say
from scripts.launch.instance import Instance
from scripts.launch.loopback import session
from scripts.stress.process_monitor import ProcessSample, monitored
from scripts.stress.soak.expected_responses import CheckedRequest

CLIENT_TIMEOUT_SECONDS = 120.0  # the service's own responseTimeout
SAMPLE_SECONDS = 1.0


@dataclass(frozen=True)
class Fault:
    """`severity` is "wrong" for a response that is not the correct one, and "error" for none, or
    one with a status of 500 and above."""

    severity: Literal["wrong", "error"]
    category: str
    reason: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.category}: {self.reason}"


@dataclass(frozen=True)
class CheckedResponse:
    category: str  # the request's
    seconds: float  # when it arrived, since the load began
    latency: float  # s
    fault: Fault | None = None


@dataclass(frozen=True)
class LoadRun:
    """What the clients received, and the processes meanwhile."""

    responses: list[CheckedResponse]
    samples: list[ProcessSample]
    finished: bool  # False: ended early by Ctrl-C


def run_load(
    instance: Instance, load: Sequence[CheckedRequest], seconds: float, clients: int
) -> LoadRun:
    """Repeat the requests of `load` for `seconds`, by `clients` at a time.

    Ctrl-C ends the run early and gracefully.
    """
    responses: list[CheckedResponse] = []
    stopped = threading.Event()
    began = time.monotonic()

    def client(first: int) -> None:
        with session() as http:
            for request in itertools.islice(itertools.cycle(load), first, None, clients):
                if stopped.is_set():
                    return
                sent = time.monotonic()
                fault = fault_in_response(http, instance.predictions, request)
                done = time.monotonic()
                responses.append(
                    CheckedResponse(request.category, done - began, done - sent, fault)
                )

    with ThreadPoolExecutor(clients) as pool, monitored(instance.group, SAMPLE_SECONDS) as samples:
        running = [pool.submit(client, first) for first in range(clients)]
        try:
            show_progress(responses, seconds)
            finished = True
        except KeyboardInterrupt:
            finished = False
            say("stopping; the measurements so far follow")
        finally:
            stopped.set()
        for future in running:
            future.result()
    return LoadRun(responses, samples, finished)


def fault_in_response(http: requests.Session, url: str, request: CheckedRequest) -> Fault | None:
    """Send the request and check its response; None where it is correct."""
    try:
        response = http.post(
            url, data=request.body, headers=request.headers, timeout=CLIENT_TIMEOUT_SECONDS
        )
        if request.is_correct(response):
            return None
    except requests.RequestException as error:
        return Fault("error", request.category, str(error))
    except (ValueError, KeyError, TypeError, OSError) as error:  # the body cannot be parsed
        return Fault("wrong", request.category, str(error))
    is_error = response.status_code >= requests.codes.server_error
    reason = f"{response.status_code} {response.reason}"
    return Fault("error" if is_error else "wrong", request.category, reason)


def show_progress(responses: Sequence[CheckedResponse], seconds: float) -> None:
    """Return after `seconds`."""
    began = time.monotonic()
    bar_format = "{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}"
    with tqdm(total=seconds, bar_format=bar_format, desc="soak") as bar:
        while (passed := time.monotonic() - began) < seconds:
            time.sleep(min(1.0, seconds - passed))
            faults = sum(response.fault is not None for response in responses)
            bar.set_postfix(responses=len(responses), faults=faults, refresh=False)
            bar.update(min(time.monotonic() - began, seconds) - bar.n)

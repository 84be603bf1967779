"""A fuzzing campaign: many hostile requests to one service, whose worker is monitored."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from scripts.common.terminal import UserError, shown
from scripts.launch.gateway import Gateway
from scripts.launch.instance import Instance
from scripts.launch.loopback import tiny_image
from scripts.launch.nginx_config import ClientLimits
from scripts.stress.fuzz.connection import send
from scripts.stress.fuzz.hostile_requests import HostileRequest, hostile_request
from scripts.stress.fuzz.outcome import CLOSED, Outcome, without_payload
from scripts.stress.fuzz.raw_http import request_bytes
from scripts.stress.process_monitor import monitored, sample_processes, worker_deaths
from serving.runtime.malloc import TRIM_SECONDS

# Concurrent requests: TorchServe's batch (8) is full, and more are queued.
CLIENTS = 12

# Requests before memory is compared: every category has occurred often, and buffers have grown.
WARM_UP_REQUESTS = 1000

SAMPLE_SECONDS = 0.5
RECOVERY_SECONDS = 120.0  # TorchServe restarts a dead worker in a quarter of it
IDLE_SECONDS = 2 * TRIM_SECONDS  # in which memory is sampled: the worker trims its heap in between

# The gateway's own limits are not under test. It waits 3 s for the rest of half a request.
GATEWAY_LIMITS = ClientLimits(
    requests_per_second=10_000, burst=10_000, connections=1000, client_seconds=3
)


@dataclass(frozen=True)
class FuzzReport:
    """A finished campaign. Memory is the idle worker's resident set, in bytes."""

    outcomes: Sequence[Outcome]
    deaths: int
    memory_before: int
    memory_after: int

    @property
    def growth(self) -> float:
        """Share of `memory_before`."""
        return self.memory_after / self.memory_before - 1

    @property
    def faults(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.fault]

    @property
    def slowest(self) -> Outcome:
        responses = [outcome for outcome in self.outcomes if outcome.status != CLOSED]
        return max(responses or self.outcomes, key=lambda outcome: outcome.seconds)


def run_campaign(
    instance: Instance,
    seeds: Sequence[int],
    gateway: Gateway | None = None,
    warm_up: int = WARM_UP_REQUESTS,
    idle_seconds: float = IDLE_SECONDS,
) -> FuzzReport:
    """Send the requests of `seeds`, CLIENTS at a time, through the gateway if there is one.

    Memory is compared between the first `warm_up` requests and the end, over `idle_seconds` each.
    Raises UserError where the service does not come back.
    """

    def outcome_of(seed: int) -> Outcome:
        return without_payload(send(instance, hostile_request(seed), gateway))

    outcomes: list[Outcome] = []
    memory: list[int] = []
    with (
        monitored(instance.group, SAMPLE_SECONDS) as samples,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        try:
            for part in (seeds[:warm_up], seeds[warm_up:]):
                results = clients.map(outcome_of, part)
                outcomes += tqdm(results, total=len(part), unit="request", disable=None)
                memory.append(idle_memory(instance, idle_seconds))
        except BaseException:
            clients.shutdown(wait=False, cancel_futures=True)
            raise
    before, after = memory
    return FuzzReport(outcomes, worker_deaths(samples), before, after)


def idle_memory(instance: Instance, seconds: float) -> int:
    """Minimum idle RSS of the worker over `seconds`, in bytes.

    The worker trims its heap after a batch, so it gets valid requests meanwhile.
    """
    valid = HostileRequest(-1, "valid", request_bytes(tiny_image(), {}))
    deadline = time.monotonic() + RECOVERY_SECONDS
    while send(instance, valid).status != http.client.OK:
        if time.monotonic() > deadline:
            raise UserError(
                f"the service no longer responds; see its logs in {shown(instance.logs)}"
            )
        time.sleep(SAMPLE_SECONDS)
    sizes: list[int] = []
    end = time.monotonic() + seconds
    while not sizes or time.monotonic() < end:
        send(instance, valid)
        time.sleep(SAMPLE_SECONDS)
        sample = sample_processes(instance.group)
        if sample.workers:
            sizes.append(sample.worker_bytes)
    return min(sizes)

"""What clients see while workers are killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from scripts.launch.torchserve import Service
from scripts.stress.process_monitor import sample_processes
from tests.deploy.load import TIMEOUT, Endpoint, Load, Question, loaded


@dataclass(frozen=True)
class Tally:
    """Of some kills: requests answered and failed, and the longest wait for an answer, in s."""

    load: Load
    kills: int

    def __str__(self) -> str:
        return (
            f"{self.kills} kills: {self.load.answered} answered, {self.load.failed or 'none'} "
            f"failed, longest wait {self.load.longest:.1f} s"
        )


def kill_under_load(
    service: Service,
    endpoint: Endpoint,
    kills: int,
    clients: int,
    question: Callable[[int, int], Question],
) -> Tally:
    """SIGKILL the worker `kills` times, each time in the middle of requests."""
    with loaded(endpoint, clients, question) as load:
        for _ in range(kills):
            load.wait_for(2 * clients)
            os.kill(worker_of(service), signal.SIGKILL)
        load.wait_for(2 * clients)
    return Tally(load, kills)


def worker_of(service: Service) -> int:
    """The process id of the service's worker, when there is one."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        for pid in sample_processes(service.group).workers:
            return pid
        time.sleep(0.05)
    raise TimeoutError("there is no worker")

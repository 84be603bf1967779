"""What clients see while workers are killed."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from scripts.launch.instance import Instance
from scripts.stress.process_monitor import sample_processes
from tests.deploy.load import TIMEOUT, Endpoint, Load, RequestMaker, loaded


@dataclass(frozen=True)
class KillReport:
    """What has become of the requests during some kills."""

    load: Load
    kills: int

    def __str__(self) -> str:
        return (
            f"{self.kills} kills: {self.load.succeeded} succeeded, {self.load.failed or 'none'} "
            f"failed, longest wait {self.load.longest:.1f} s"
        )


def kill_under_load(
    instance: Instance, endpoint: Endpoint, kills: int, clients: int, make_request: RequestMaker
) -> KillReport:
    """SIGKILL the worker `kills` times, each time while requests are in flight."""
    with loaded(endpoint, clients, make_request) as load:
        for _ in range(kills):
            load.wait_for(2 * clients)
            os.kill(worker_of(instance), signal.SIGKILL)
        load.wait_for(2 * clients)
    return KillReport(load, kills)


def worker_of(instance: Instance) -> int:
    """The process id of the instance's worker, as soon as there is one."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        for pid in sample_processes(instance.group).workers:
            return pid
        time.sleep(0.05)
    raise TimeoutError("there is no worker")

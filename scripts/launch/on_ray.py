"""The service on Ray, on this machine: a cluster of one node that serves an instance's archive."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import requests

from scripts.common.terminal import ROOT, last_line, say, shown
from scripts.launch.archives import check_whole, copy_into, keep, kept_archive, model_name_in
from scripts.launch.instance import LaunchError
from scripts.launch.loopback import session, tiny_image
from scripts.launch.ports import HOST, PortError, free_neighbour, why_not
from scripts.launch.ray_head import (
    cluster_address,
    end_head,
    running_head,
    start_head,
    temp_of,
    token_of,
)
from scripts.launch.ray_node import cores, environment, gpus
from serving.wire import MODEL_NAME

# From the port for predictions to that of the metrics, as on TorchServe.
METRICS_OFFSET = 2

# Seconds. On two busy cores a replica served after 20.
DEPLOY_SECONDS = 300.0
RESPONSE_SECONDS = 60.0

# Seconds in which requests in flight get their responses: the longest takes 130
# (cluster/application.py), and Ray some more to end.
SHUTDOWN_SECONDS = 180.0


@dataclass(frozen=True)
class RayInstance:
    """A running instance. The process that leads its group is a child of this one."""

    folder: Path
    port: int
    leader: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def predictions(self) -> str:
        return f"{self.url}/predictions/{MODEL_NAME}"

    @property
    def metrics(self) -> str:
        return f"http://{HOST}:{self.port + METRICS_OFFSET}/metrics"


@contextlib.contextmanager
def running_on_ray(archive: Path, folder: Path, port: int) -> Iterator[RayInstance]:
    """Serve the archive inside the `with` block; then requests in flight get their responses."""
    instance = start_on_ray(archive, folder, port)
    try:
        yield instance
    finally:
        stop_on_ray(folder)
        instance.leader.wait()


def start_on_ray(archive: Path, folder: Path, port: int) -> RayInstance:
    """Serve the archive; returns after the first prediction.

    Raises LaunchError where there is none. No process is left behind then, nor after Ctrl-C.
    """
    check_installed()
    check_whole(archive)
    check_free(folder, port)
    say(f"starting {model_name_in(archive)} on Ray on port {port}; this takes up to a minute")
    started = time.monotonic()
    instance = RayInstance(folder, port, start_head(folder, port + METRICS_OFFSET))
    try:
        deploy(archive, folder, cluster_address(instance.leader.pid), port)
        predict(instance)
    except BaseException:
        end_head(folder, instance.leader.pid)
        instance.leader.wait()
        raise
    say(f"ready after {time.monotonic() - started:.0f} s: {instance.predictions}")
    return instance


def stop_on_ray(folder: Path) -> bool:
    """End the instance in `folder`, all its processes; returns whether there was one.

    Requests in flight get their responses first.
    """
    leader = running_head(folder)
    if leader is None:
        return False
    try:
        run_cluster(folder, cluster_address(leader), SHUTDOWN_SECONDS, "shutdown")
    except LaunchError as error:
        say(f"requests in flight may be lost: {error}")
    finally:  # Ctrl-C ends the wait for those requests, not the stop
        end_head(folder, leader)
    return True


def deploy_on_ray(archive: Path, folder: Path, port: int) -> None:
    """Have the instance on `port` serve the archive from now on.

    One that runs replaces its replica; where the new one does not start, the archive before is
    deployed again, and LaunchError raised. One that is stopped serves it from its next start.
    """
    before, new = kept_archive(folder), copy_into(folder, archive)
    leader = running_head(folder)
    if leader is None:
        keep(new)
        say(f"port {port} serves {shown(new)} from its next start")
        return
    address = cluster_address(leader)
    try:
        deploy(new, folder, address, port)
    except BaseException as error:
        say(f"{shown(new)} does not start: {error or type(error).__name__}")
        if before is not None:
            say(f"going back to {shown(before)}")
            deploy(before, folder, address, port)
        raise
    keep(new)
    say(f"port {port} serves {shown(new)}")


def check_installed() -> None:
    if find_spec("ray") is None:
        raise LaunchError("Ray is not installed; `make start ENGINE=ray` installs it")


def check_free(folder: Path, port: int) -> None:
    """Raise LaunchError where an instance runs in `folder`, PortError where a port is in use."""
    if running_head(folder) is not None:
        raise LaunchError(
            f"a service runs on port {port} already: `make stop PORT={port}` ends it, "
            f"or choose another place, for instance PORT={free_neighbour(port)}"
        )
    for needed in (port, port + METRICS_OFFSET):
        problem = why_not(needed)
        if problem:
            raise PortError(
                f"port {needed} {problem}; choose another place, for instance "
                f"PORT={free_neighbour(port)}"
            )


def deploy(archive: Path, folder: Path, address: str, port: int) -> None:
    """Have the cluster serve the archive. Raises LaunchError with the reason where it cannot."""
    run_cluster(
        folder,
        address,
        DEPLOY_SECONDS,
        *("deploy", "--archive", str(archive.resolve()), "--store", str(temp_of(folder) / "mar")),
        *("--host", HOST, "--port", str(port), "--cpus", str(cores()), "--gpus", str(gpus())),
    )


def run_cluster(folder: Path, address: str, seconds: float, *arguments: str) -> None:
    """Run `python -m cluster` with the arguments. Raises LaunchError with its last line."""
    log = folder / "deploy.log"
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "cluster", *arguments],
                cwd=ROOT,
                env=environment(token_of(folder), address),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LaunchError(f"Ray took more than {seconds:.0f} s: see {shown(log)}") from None
    if done.returncode != 0:
        raise LaunchError(f"{last_line(log.read_text('utf-8', 'replace'))} (see {shown(log)})")


def predict(instance: RayInstance) -> None:
    """Raises LaunchError unless the service predicts."""
    try:
        response = session().post(instance.predictions, data=tiny_image(), timeout=RESPONSE_SECONDS)
    except requests.RequestException as error:
        raise LaunchError(f"the first prediction failed ({error})") from error
    if response.status_code != requests.codes.ok:
        raise LaunchError(f"the first prediction got status {response.status_code}")

"""The service on Ray, on this machine: a cluster of one node in an instance's folder.

Beside the archive that the instance keeps there are

    ray.pid, ray-token     the process that leads the node's group, and the cluster's token
    console.log            what Ray printed; deploy.log what the deployment did
    ray                    leads to the node's temporary folder, while it runs
    ray-logs/              its logs, of the last run
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from scripts.common.terminal import ROOT, last_line, say, shown
from scripts.launch.archives import check_whole, copy_into, keep, kept_archive, model_name_in
from scripts.launch.instance import LaunchError
from scripts.launch.loopback import session, tiny_image
from scripts.launch.ports import HOST, PortError, free_neighbour, free_ports, why_not
from scripts.launch.process_groups import end_group, interrupts_deferred
from scripts.launch.ray_node import cluster_token, command, environment, head_alone
from serving.wire import MODEL_NAME

# From the port for predictions to that of the metrics, as on TorchServe.
METRICS_OFFSET = 2

# Seconds. On two busy cores Ray was up after 22, and a replica after 17 more.
START_SECONDS = 120.0
DEPLOY_SECONDS = 300.0
RESPONSE_SECONDS = 60.0
POLL_SECONDS = 0.2

# Requests in flight get their responses, of which the longest takes 130 (cluster/application.py).
DRAIN_SECONDS = 180.0

# After it Ray's processes get SIGTERM, and SIGKILL in the end.
END_SECONDS = 20.0

# What `ray start` prints when the node is up.
STARTED = "Ray runtime started."


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
    check_not_running(folder, port)
    for needed in (port, port + METRICS_OFFSET):
        problem = why_not(needed)
        if problem:
            raise PortError(
                f"port {needed} {problem}; choose another place, for instance "
                f"PORT={free_neighbour(port)}"
            )
    say(f"starting {model_name_in(archive)} on Ray on port {port}; this takes up to a minute")
    started = time.monotonic()
    cluster = f"{HOST}:{free_ports().inference}"
    leader = None
    try:
        with interrupts_deferred():
            leader = launch(folder, cluster, port + METRICS_OFFSET)
        wait_until_started(leader, folder)
        deploy(archive, folder, cluster, port)
        instance = RayInstance(folder, port, leader)
        predict(instance)
    except BaseException:
        if leader is not None:
            end(folder, leader.pid)
            leader.wait()
        raise
    say(f"ready after {time.monotonic() - started:.0f} s: {instance.predictions}")
    return instance


def stop_on_ray(folder: Path) -> bool:
    """End the instance in `folder`, all its processes; returns whether there was one.

    Requests in flight get their responses first.
    """
    group = running_group(folder)
    if group is None:
        return False
    try:
        run_cluster(folder, cluster_address(group), DRAIN_SECONDS, "shutdown")
    except LaunchError as error:
        say(f"requests in flight may be lost: {error}")
    finally:  # Ctrl-C ends the wait for those requests, not the stop
        end(folder, group)
    return True


def deploy_on_ray(archive: Path, folder: Path, port: int) -> None:
    """Have the instance on `port` serve the archive from now on.

    One that runs replaces its replica; where the new one does not start, the archive before is
    deployed again, and LaunchError raised. One that is stopped serves it from its next start.
    """
    before, new = kept_archive(folder), copy_into(folder, archive)
    group = running_group(folder)
    if group is None:
        keep(new)
        say(f"port {port} serves {shown(new)} from its next start")
        return
    cluster = cluster_address(group)
    try:
        deploy(new, folder, cluster, port)
    except BaseException as error:
        say(f"{shown(new)} does not start: {error or type(error).__name__}")
        if before is not None:
            say(f"going back to {shown(before)}")
            deploy(before, folder, cluster, port)
        raise
    keep(new)
    say(f"port {port} serves {shown(new)}")


def check_installed() -> None:
    if not (Path(sys.executable).parent / "ray").exists():
        raise LaunchError(
            "Ray is not installed in this Python; `make start ENGINE=ray` installs it"
        )


def check_not_running(folder: Path, port: int) -> None:
    if running_group(folder) is not None:
        raise LaunchError(
            f"a service runs on port {port} already: `make stop PORT={port}` ends it, "
            f"or choose another place, for instance PORT={free_neighbour(port)}"
        )


def launch(folder: Path, cluster: str, metrics: int) -> subprocess.Popen[bytes]:
    """Start the node, as the leader of a process group of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_temp(folder)
    temp = Path(tempfile.mkdtemp(prefix="segmenter-ray-"))  # short: sockets' paths are in it
    (folder / "ray").symlink_to(temp)
    with (folder / "console.log").open("wb") as console:
        leader = subprocess.Popen(
            command(temp, *head_alone(cluster.rpartition(":")[2], metrics)),
            cwd=folder,
            env=environment(cluster_token(folder / "ray-token")),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / "ray.pid").write_text(str(leader.pid), "ascii")
    return leader


def wait_until_started(leader: subprocess.Popen[bytes], folder: Path) -> None:
    console = folder / "console.log"
    deadline = time.monotonic() + START_SECONDS
    while STARTED not in (printed := console.read_text("utf-8", "replace")):
        if leader.poll() is not None:
            raise LaunchError(f"Ray ended: {last_line(printed)} (see {shown(console)})")
        if time.monotonic() > deadline:
            raise LaunchError(f"Ray was not up after {START_SECONDS:.0f} s: see {shown(console)}")
        time.sleep(POLL_SECONDS)


def deploy(archive: Path, folder: Path, cluster: str, port: int) -> None:
    """Have the node serve the archive. Raises LaunchError with the reason where it cannot."""
    cores = len(os.sched_getaffinity(0))
    gpus = 1 if Path("/dev/nvidia0").exists() else 0
    run_cluster(
        folder,
        cluster,
        DEPLOY_SECONDS,
        "deploy",
        *("--archive", str(archive.resolve()), "--store", str((folder / "ray").resolve() / "mar")),
        *("--host", HOST, "--port", str(port), "--cpus", str(cores), "--gpus", str(gpus)),
    )


def run_cluster(folder: Path, address: str, seconds: float, *arguments: str) -> None:
    """Run `python -m cluster` with the arguments. Raises LaunchError with its last line."""
    log = folder / "deploy.log"
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "cluster", *arguments],
                cwd=ROOT,
                env=environment(folder / "ray-token", address),
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


def running_group(folder: Path) -> int | None:
    """The process group of the instance in `folder`, None where no Ray runs there."""
    try:
        process = psutil.Process(int((folder / "ray.pid").read_text("ascii")))
        command_line = process.cmdline()  # empty for a zombie
    except (OSError, ValueError, psutil.Error):
        return None
    return process.pid if f"--temp-dir={(folder / 'ray').resolve()}" in command_line else None


def cluster_address(group: int) -> str:
    """The address of the cluster, from the command that leads the group."""
    (port,) = [word[7:] for word in psutil.Process(group).cmdline() if word.startswith("--port=")]
    return f"{HOST}:{port}"


def end(folder: Path, group: int) -> None:
    """End all processes of the instance, and keep their logs."""
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(group)
        leader.terminate()  # it ends the others one after the other
        leader.wait(END_SECONDS)
    end_group(group)
    logs = folder / "ray" / "session_latest" / "logs"
    if logs.exists():
        shutil.rmtree(folder / "ray-logs", ignore_errors=True)
        shutil.copytree(logs, folder / "ray-logs", ignore=shutil.ignore_patterns("*.sock"))
    remove_temp(folder)
    (folder / "ray.pid").unlink(missing_ok=True)


def remove_temp(folder: Path) -> None:
    link = folder / "ray"
    if link.is_symlink():
        shutil.rmtree(link.resolve(), ignore_errors=True)
        link.unlink()

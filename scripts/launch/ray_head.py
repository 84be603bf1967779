"""A Ray cluster of one node, in an instance's folder: on loopback, on ports of its own.

ray.pid, ray-token     the process that leads the node's group, and the cluster's token
console.log            what Ray printed
ray                    leads to the node's temporary folder, while it runs
ray-logs/              its logs, of the last run
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from scripts.common.terminal import last_line, shown
from scripts.launch.instance import LaunchError
from scripts.launch.ports import HOST, free_ports
from scripts.launch.process_groups import interrupts_deferred
from scripts.launch.ray_node import cluster_token, command, end_node, environment

# Seconds. On two busy cores Ray was up after 22.
START_SECONDS = 120.0
POLL_SECONDS = 0.2

# What `ray start` prints when the node is up.
STARTED = "Ray runtime started."

# What it ends with where its processes take more than 30 s to start, as on a busy machine: Ray has
# no setting for it, so it is started again.
TOO_SLOW = "timed out during startup"
ATTEMPTS = 3

# A stop waits for the requests in flight by itself, before the node ends.
NO_DRAIN = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}


class TooSlow(LaunchError):
    """Ray's processes did not start in the time that Ray gives them."""


def start_head(folder: Path, metrics: int) -> subprocess.Popen[bytes]:
    """The process that leads the node, which is up, with its metrics on the port `metrics`.

    Raises LaunchError where it does not start. No process is left behind then, nor after Ctrl-C.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return try_to_start(folder, metrics)
        except TooSlow:
            continue
    return try_to_start(folder, metrics)


def try_to_start(folder: Path, metrics: int) -> subprocess.Popen[bytes]:
    leader = None
    try:
        with interrupts_deferred():
            leader = launch(folder, metrics)
        wait_until_started(leader, folder / "console.log")
    except BaseException:
        if leader is not None:
            end_head(folder, leader.pid)
            leader.wait()
        raise
    return leader


def launch(folder: Path, metrics: int) -> subprocess.Popen[bytes]:
    """Start the node, as the leader of a process group of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_temp(folder)
    temp = Path(tempfile.mkdtemp(prefix="segmenter-ray-"))  # short: sockets' paths are in it
    (folder / "ray").symlink_to(temp)
    with (folder / "console.log").open("wb") as console:
        leader = subprocess.Popen(
            command(temp, *lone_head(metrics)),
            cwd=folder,
            env={**NO_DRAIN, **environment(cluster_token(token_of(folder)))},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / "ray.pid").write_text(str(leader.pid), "ascii")
    return leader


def lone_head(metrics: int) -> list[str]:
    """Arguments for a head without other nodes: on ports that nothing listens on."""
    first, second = free_ports(), free_ports()
    return [
        *("--head", f"--port={first.grpc_inference}", f"--node-ip-address={HOST}"),
        *("--include-dashboard=false", f"--metrics-export-port={metrics}"),
        f"--ray-client-server-port={first.inference}",
        f"--node-manager-port={first.management}",
        f"--object-manager-port={first.metrics}",
        f"--dashboard-agent-grpc-port={second.inference}",
        f"--dashboard-agent-listen-port={second.management}",
        f"--runtime-env-agent-port={second.metrics}",
    ]


def wait_until_started(leader: subprocess.Popen[bytes], console: Path) -> None:
    """Raises LaunchError where Ray ends or takes too long: TooSlow if another try may help."""
    deadline = time.monotonic() + START_SECONDS
    while STARTED not in (printed := console.read_text("utf-8", "replace")):
        if leader.poll() is not None:
            reason = last_line(printed)
            kind = TooSlow if TOO_SLOW in reason else LaunchError
            raise kind(f"Ray ended: {reason} (see {shown(console)})")
        if time.monotonic() > deadline:
            raise LaunchError(f"Ray was not up after {START_SECONDS:.0f} s: see {shown(console)}")
        time.sleep(POLL_SECONDS)


def running_head(folder: Path) -> int | None:
    """The process that leads the node in `folder`, None where no Ray runs there."""
    try:
        process = psutil.Process(int((folder / "ray.pid").read_text("ascii")))
        words = process.cmdline()  # empty for a zombie
    except (OSError, ValueError, psutil.Error):
        return None
    return process.pid if f"--temp-dir={temp_of(folder)}" in words else None


def cluster_address(leader: int) -> str:
    """The address of the cluster, from the command that leads the node."""
    (port,) = [
        word.partition("=")[2]
        for word in psutil.Process(leader).cmdline()
        if word.startswith("--port=")
    ]
    return f"{HOST}:{port}"


def end_head(folder: Path, leader: int) -> None:
    """End all processes of the node, and keep their logs."""
    end_node(leader)
    logs = temp_of(folder) / "session_latest" / "logs"
    if logs.exists():
        shutil.rmtree(folder / "ray-logs", ignore_errors=True)
        shutil.copytree(logs, folder / "ray-logs", ignore=shutil.ignore_patterns("*.sock"))
    remove_temp(folder)
    (folder / "ray.pid").unlink(missing_ok=True)


def token_of(folder: Path) -> Path:
    return folder / "ray-token"


def temp_of(folder: Path) -> Path:
    return (folder / "ray").resolve()


def remove_temp(folder: Path) -> None:
    link = folder / "ray"
    if link.is_symlink():
        shutil.rmtree(link.resolve(), ignore_errors=True)
        link.unlink()

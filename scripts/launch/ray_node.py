"""Ray's processes on this machine: the environment and the command of a node, and its end.

A node is `ray start --block`: one process that leads a process group and a session, of which all
that Ray starts on this machine are members. Its temporary folder is its own, so nothing here meets
another cluster on the same machine.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path

import psutil

from scripts.common.terminal import ROOT
from scripts.launch.credentials import TOKEN_BYTES, write_secret
from scripts.launch.process_groups import end_group

# Bytes of the object store. It is shared memory, which containers have little of. Behind Ray's
# proxies in Python, requests of up to 48 MiB and responses of up to 200 MB pass through it.
OBJECT_STORE_BYTES = 80_000_000  # Ray's least is 75 MiB

# Seconds that a node which gets SIGTERM lets its requests end, Ray's default, and those for its
# processes to end after that.
NODE_DRAIN_SECONDS = 30
NODE_END_SECONDS = 20

# The port by which other nodes join a head, Ray's default.
HEAD_PORT = 6379

PROXY_VARIABLES = tuple(
    spelt for name in ("http_proxy", "https_proxy", "all_proxy") for spelt in (name, name.upper())
)


def environment(token: Path, address: str | None = None) -> dict[str, str]:
    """This process's environment, with what every process of a node and of a deployment needs.

    `token` is a file with the cluster's token: without it, whoever reaches one of Ray's ports can
    run code here (CVE-2023-48022). `address` is that of a running cluster.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in (*PROXY_VARIABLES, "RAY_ADDRESS", "PYTHONPATH")
    }
    settings = {
        "PYTHONPATH": str(ROOT),  # replicas import cluster from here, the rest from their archive
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token.resolve()),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # else 15: whatever else runs here would slow the service down
        "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",  # or each node serves its own clients
    }
    if address is not None:
        settings["RAY_ADDRESS"] = address
    return {**inherited, **settings}


def cluster_token(path: Path) -> Path:
    """The file with a cluster's token, made if it is missing. All its nodes need the same."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_secret(path, secrets.token_hex(TOKEN_BYTES) + "\n")
    return path


def command(temp: Path, *arguments: str) -> list[str]:
    """`ray start` in the foreground, with its own temporary folder."""
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
        *("--disable-usage-stats", f"--temp-dir={temp}"),
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        *arguments,
    ]


def end_node(leader: int) -> None:
    """End a node, and all that it has started; its requests in flight may end first."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(leader)
        process.terminate()  # the leader alone: it needs the others for this
        process.wait(NODE_DRAIN_SECONDS + NODE_END_SECONDS)
    end_group(leader)


def cores() -> int:
    """Of this machine, within its container's limit: a replica's unless it is told otherwise.

    Rounded down, as Ray counts a node's: a replica that needs more than that would never start.
    """
    from serving.runtime.device import core_share  # here, as it imports torch: seconds

    return max(1, int(core_share()))


def gpus() -> int:
    """1 where this machine has an NVIDIA GPU for a replica, else 0."""
    return int(Path("/dev/nvidia0").exists())

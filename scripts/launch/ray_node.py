"""Ray's processes on this machine: the environment and the command of a node, and its address.

A node is `ray start --block`: one process that leads a process group and a session, of which all
that Ray starts on this machine are members. Its temporary folder is its own, so nothing here meets
another cluster on the same machine.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from scripts.common.terminal import ROOT
from scripts.launch.credentials import TOKEN_BYTES, write_secret
from scripts.launch.ports import free_ports

# Bytes of the object store. Requests and responses pass through it, 48 MiB at most; it is shared
# memory, which containers have little of.
OBJECT_STORE_BYTES = 80_000_000  # Ray's least is 75 MiB

# The port by which other nodes join a head, Ray's default.
HEAD_PORT = 6379

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def environment(token: Path, address: str | None = None) -> dict[str, str]:
    """This process's environment, with what every process of a node and of a deployment needs.

    `token` is a file with the cluster's token: without it, whoever reaches one of Ray's ports can
    run code here (CVE-2023-48022). `address` is that of a running cluster.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in (*PROXIES, "RAY_ADDRESS", "PYTHONPATH")
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


def head_alone(port: str, metrics: int) -> list[str]:
    """Arguments for a head without other nodes: on ports that nothing listens on.

    `port` is that of the cluster, `metrics` that of Prometheus' metrics.
    """
    first, second = free_ports(), free_ports()
    return [
        *("--head", f"--port={port}", "--node-ip-address=127.0.0.1"),
        *("--include-dashboard=false", f"--metrics-export-port={metrics}"),
        f"--ray-client-server-port={first.inference}",
        f"--node-manager-port={first.management}",
        f"--object-manager-port={first.metrics}",
        f"--dashboard-agent-grpc-port={second.inference}",
        f"--dashboard-agent-listen-port={second.management}",
        f"--runtime-env-agent-port={second.metrics}",
    ]

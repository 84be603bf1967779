"""A node of a Ray cluster of several machines, in the foreground, and a deployment to it.

The head is the machine that the others join. All of them need this checkout, the archive at the
same path, and the head's token; Ray's ports must be open between them, and to nobody else.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from scripts.common.terminal import ROOT, say, shown
from scripts.launch.archives import check_whole
from scripts.launch.instance import LaunchError
from scripts.launch.loopback import session
from scripts.launch.ports import HOST
from scripts.launch.ray_node import HEAD_PORT, cluster_token, command, end_node, environment

FOLDER = ROOT / "build" / "ray"
TOKEN = FOLDER / "token"
STORE = FOLDER / "archives"

ALL_ADDRESSES = "0.0.0.0"

# Seconds in which a node's proxy knows of the replicas.
PROXY_SECONDS = 30.0
POLL_SECONDS = 0.2

# Ray's proxies as HAProxy, on every node of a cluster or on none: the replicas of a node without it
# would run and get no requests. Their own in Python passes on 200 requests a second.
HAPROXY_SETTINGS = {"RAY_SERVE_ENABLE_HA_PROXY": "1"}


def run_head(port: int = HEAD_PORT) -> None:
    """Be the cluster's first node until Ctrl-C."""
    cluster_token(TOKEN)
    say(f"other machines join with: make node JOIN=<this machine>, and a copy of {shown(TOKEN)}")
    run_node("--head", f"--port={port}", "--dashboard-host=127.0.0.1")


def run_joined(head: str) -> None:
    """Be another node of the cluster until Ctrl-C. `head` is the head's name, or name:port."""
    if not TOKEN.exists():
        raise LaunchError(f"there is no {shown(TOKEN)}: copy it from the head, where it is, too")
    run_node(f"--address={head if ':' in head else f'{head}:{HEAD_PORT}'}")


def run_node(*arguments: str) -> None:
    """Run `ray start` until it ends; with this program all that it has started ends.

    Raises LaunchError where it ends by itself.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    temp = Path(tempfile.mkdtemp(prefix="segmenter-ray-"))  # short: sockets' paths are in it
    leader = subprocess.Popen(
        command(temp, *arguments),
        env={**HAPROXY_SETTINGS, **environment(TOKEN)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        status = leader.wait()
    except KeyboardInterrupt:
        say("stopping")
        return
    finally:
        end_node(leader.pid)
        leader.wait()
        shutil.rmtree(temp, ignore_errors=True)
    raise LaunchError(f"Ray ended by itself, with status {status}")


def deploy_to_cluster(
    archive: Path, port: int, replicas: int, cpus: int, gpus: int, head: int = HEAD_PORT
) -> None:
    """Have the cluster whose head is this machine serve the archive, on `port` of every node.

    There are 1 to `replicas` replicas, as many as the requests in flight need. Raises LaunchError
    where the replicas do not start.
    """
    check_whole(archive)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cluster", "deploy", "--archive", str(archive.resolve())),
            *("--store", str(STORE), "--host", ALL_ADDRESSES, "--port", str(port)),
            *("--cpus", str(cpus), "--gpus", str(gpus), "--max-replicas", str(replicas)),
        ],
        cwd=ROOT,
        env={**HAPROXY_SETTINGS, **environment(TOKEN, f"127.0.0.1:{head}")},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        raise LaunchError("the cluster does not serve the archive: the lines above say why")
    check_served(port)
    say(f"every node serves {shown(archive)} on port {port}")


def check_served(port: int, seconds: float = PROXY_SECONDS) -> None:
    """Raises LaunchError unless this node responds on the port within some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(requests.RequestException):
            response = session().get(f"http://{HOST}:{port}/ping", timeout=PROXY_SECONDS)
            if response.status_code == requests.codes.ok:
                return
        if time.monotonic() > deadline:
            raise LaunchError(
                f"nothing responds on port {port}: a cluster keeps the port of its first deployment"
            )
        time.sleep(POLL_SECONDS)

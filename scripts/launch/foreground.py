"""An instance in the foreground, for a supervisor such as systemd, or a container."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.common.terminal import say, shown
from scripts.launch import gateway
from scripts.launch.archives import keep
from scripts.launch.credentials import Certificate
from scripts.launch.gateway import Gateway
from scripts.launch.ingress import DIRECT, Ingress
from scripts.launch.instance import Instance, LaunchError
from scripts.launch.lifecycle import running_instance, start_gateway
from scripts.launch.ports import HOST, Ports
from scripts.launch.readiness import last_words
from scripts.launch.torchserve import running_group

# Seconds between two looks at whether everything still runs.
WATCH_SECONDS = 1.0

LOCK = "foreground.lock"  # in the instance's folder


def run(
    archive: Path,
    folder: Path,
    ports: Ports,
    front: Gateway | None = None,
    origins: tuple[str, ...] = (),
    metrics_host: str = HOST,
) -> None:
    """Serve the archive, a copy in `folder`, until Ctrl-C; a gateway `front` is drained first.

    Raises LaunchError where TorchServe or the gateway ends by itself.
    """
    with (
        foreground(folder),
        running_instance(archive, folder, ports, origins, metrics_host) as instance,
    ):
        try:
            keep(archive)
            where = instance.predictions
            if front is not None:  # not the token itself: a supervisor logs what is printed
                where = f"{front.predictions} (token: {shown(front.folder / 'token')})"
            say(f"serving at {where}; Ctrl-C stops it")
            reason = None
            while reason is None:
                time.sleep(WATCH_SECONDS)
                reason = why_ended(instance, front)
                if front is not None:
                    gateway.bound_logs(front.folder)
        except KeyboardInterrupt:
            say("stopping")
            return
        finally:
            if front is not None:
                gateway.stop(front.folder)
    raise LaunchError(reason)


def run_behind_gateway(
    archive: Path,
    folder: Path,
    ports: Ports,
    https: int,
    certificate: Certificate | None = None,
    origins: tuple[str, ...] = (),
    ingress: Ingress = DIRECT,
    token: Path | None = None,
    metrics_host: str = HOST,
) -> None:
    """Serve the archive over HTTPS on the port `https` until Ctrl-C; raises as `run` does."""
    front = start_gateway(folder, ports, https, certificate, origins, ingress, token)
    try:
        run(archive, folder, ports, front, metrics_host=metrics_host)
    finally:
        gateway.stop(front.folder)  # TorchServe may not have started; then `run` drained nothing


def why_ended(instance: Instance, front: Gateway | None) -> str | None:
    """Which of TorchServe and the gateway has ended by itself, and why; None while both run."""
    if running_group(instance.folder) is None:
        return f"TorchServe ended by itself: {last_words(instance)}"
    if front is not None and gateway.master_of(front.folder) is None:
        return f"nginx ended by itself: see {shown(front.folder / 'error.log')}"
    return None


@contextlib.contextmanager
def foreground(folder: Path) -> Iterator[None]:
    """Mark the instance as one in the foreground, by a lock that ends with this process at last."""
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LaunchError(f"another process is starting a service in {shown(folder)}") from None
        yield


def is_in_foreground(folder: Path) -> bool:
    """Whether a process serves the instance in `folder` in its foreground."""
    try:
        with (folder / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False

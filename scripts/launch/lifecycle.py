"""Start and stop an instance: TorchServe with one archive, on loopback, alone or behind nginx."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from scripts.common.terminal import say, shown
from scripts.launch import gateway
from scripts.launch.archives import check_whole, model_name_in
from scripts.launch.credentials import Certificate
from scripts.launch.gateway import Gateway
from scripts.launch.ingress import DIRECT, Ingress
from scripts.launch.instance import Instance, LaunchError, folder_for, gateway_folder
from scripts.launch.loopback import tiny_image
from scripts.launch.ports import HOST, Ports, check_free, free_neighbour, free_ports
from scripts.launch.process_groups import end_group, interrupts_deferred
from scripts.launch.readiness import wait_until_ready
from scripts.launch.torchserve import launch, prepare, remove_temp, running_group


@contextlib.contextmanager
def running_instance(
    archive: Path,
    folder: Path,
    ports: Ports | None = None,
    origins: tuple[str, ...] = (),
    metrics_host: str = HOST,
) -> Iterator[Instance]:
    """Serve the archive inside the `with` block; on free ports unless some are given."""
    instance = start(archive, folder, ports or free_ports(), origins, metrics_host)
    try:
        yield instance
    finally:
        end_group(instance.group)
        remove_temp(folder)


def start(
    archive: Path,
    folder: Path,
    ports: Ports,
    origins: tuple[str, ...] = (),
    metrics_host: str = HOST,
) -> Instance:
    """Serve the archive; returns after the first prediction.

    Browsers let pages of `origins` send requests to it: one origin, or "*". The metrics are at the
    address `metrics_host`.
    Raises LaunchError where there is none. No process is left behind then, nor after Ctrl-C.
    """
    check_whole(archive)
    check_not_running(folder, ports.inference)
    check_free(ports)
    prepare(folder, ports, origins, metrics_host)
    say(
        f"starting {model_name_in(archive)} on port {ports.inference}; "
        f"its logs are in {shown(folder / 'logs')}"
    )
    launcher = None
    try:
        with interrupts_deferred():
            launcher = launch(archive, folder)
        instance = Instance(folder, ports, group=launcher.pid)
        wait_until_ready(instance)
    except BaseException:
        if launcher is not None:
            end_group(launcher.pid)
        remove_temp(folder)
        raise
    finally:
        if launcher is not None:
            launcher.wait()
    return instance


def start_behind_gateway(
    archive: Path,
    folder: Path,
    ports: Ports,
    https: int,
    certificate: Certificate | None = None,
    origins: tuple[str, ...] = (),
) -> Gateway:
    """Serve the archive over HTTPS on the port `https`; returns and raises as `start` does."""
    # The gateway first: what prevents it from starting shows at once.
    front = start_gateway(folder, ports, https, certificate, origins)
    try:
        start(archive, folder, ports)
    except BaseException:
        gateway.stop(front.folder)
        raise
    return front


def start_gateway(
    folder: Path,
    ports: Ports,
    https: int,
    certificate: Certificate | None,
    origins: tuple[str, ...] = (),
    ingress: Ingress = DIRECT,
    token: Path | None = None,
) -> Gateway:
    return gateway.start(
        gateway_folder(folder),
        ports.inference,
        tiny_image(),
        https,
        certificate=certificate,
        origins=origins,
        ingress=ingress,
        token=token,
    )


def check_not_running(folder: Path, port: int) -> None:
    """Raise LaunchError where an instance runs in `folder`, with the command that ends it."""
    group = running_group(folder)
    if group is None:
        return
    if folder != folder_for(port):  # of a program that chooses its ports, such as the fuzzer
        raise LaunchError(
            f"a service runs in {shown(folder)} already: wait for it, or end it: kill -- -{group}"
        )
    raise LaunchError(
        f"a service runs on port {port} already: `make stop PORT={port}` ends it, "
        f"or choose another place, for instance PORT={free_neighbour(port)}"
    )


def stop(folder: Path) -> bool:
    """End the instance in `folder`, all its processes; returns whether there was one.

    Requests in flight behind a gateway get their responses first. A gateway whose TorchServe is
    gone is an instance, too.
    """
    had_gateway = False
    try:
        had_gateway = gateway.stop(gateway_folder(folder))
    finally:  # Ctrl-C ends the wait for those requests, not the stop
        group = running_group(folder)
        if group is not None:
            end_group(group)
        remove_temp(folder)
    return had_gateway or group is not None

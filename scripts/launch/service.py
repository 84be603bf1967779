"""Start, stop or run the service: TorchServe with one archive, on loopback.

    python -m scripts.service start --archive build/segmenter.mar --port 8080

With --gateway, nginx is put in front of it, for a network: see scripts/launch/gateway.py.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from scripts.common.terminal import ROOT, exit_status, say, shown
from scripts.launch import gateway
from scripts.launch.credentials import Certificate
from scripts.launch.gateway import Gateway
from scripts.launch.loopback import tiny_image
from scripts.launch.ports import Ports, check_free, free_neighbour, free_ports, ports_from
from scripts.launch.process_groups import end_group, interrupts_deferred
from scripts.launch.readiness import last_words, wait_until_ready
from scripts.launch.torchserve import (
    Service,
    ServiceError,
    folder_for,
    gateway_folder,
    launch,
    prepare,
    remove_temp,
    running_group,
)

ARCHIVE = ROOT / "build" / "segmenter.mar"
DEFAULT_PORT = 8080


@contextlib.contextmanager
def running_service(archive: Path, folder: Path, ports: Ports | None = None) -> Iterator[Service]:
    """The archive, served until the block is left; on free ports unless some are given."""
    service = start(archive, folder, ports or free_ports())
    try:
        yield service
    finally:
        end_group(service.group)
        remove_temp(folder)


def start(archive: Path, folder: Path, ports: Ports) -> Service:
    """Serve the archive; returns when a prediction has been answered.

    Raises ServiceError, and leaves no process behind, where that does not come about; nor is one
    left behind by Ctrl-C.
    """
    check_whole(archive)
    check_not_running(folder, ports.inference)
    check_free(ports)
    prepare(folder, ports)
    say(
        f"starting {model_in(archive)} on port {ports.inference}; "
        f"its logs are in {shown(folder / 'logs')}"
    )
    launcher = None
    try:
        with interrupts_deferred():
            launcher = launch(archive, folder)
        service = Service(folder, ports, group=launcher.pid)
        wait_until_ready(service)
    except BaseException:
        if launcher is not None:
            end_group(launcher.pid)
        remove_temp(folder)
        raise
    finally:
        if launcher is not None:
            launcher.wait()
    return service


def start_behind_gateway(
    archive: Path, folder: Path, ports: Ports, https: int, certificate: Certificate | None = None
) -> Gateway:
    """Serve the archive over HTTPS on the port `https`; raises and returns as `start` does."""
    # The gateway first: what keeps it from starting is known at once.
    front = start_gateway(folder, ports, https, certificate)
    try:
        start(archive, folder, ports)
    except BaseException:
        gateway.stop(front.folder)
        raise
    return front


def check_not_running(folder: Path, port: int) -> None:
    """ServiceError where an instance runs in `folder`, with what ends it."""
    group = running_group(folder)
    if group is None:
        return
    if folder != folder_for(port):  # of a program that chooses its ports, such as the fuzzer
        raise ServiceError(
            f"a service runs in {shown(folder)} already: wait for it, or end it: kill -- -{group}"
        )
    raise ServiceError(
        f"a service runs on port {port} already: `make stop PORT={port}` ends it, "
        f"or choose another place, for instance PORT={free_neighbour(port)}"
    )


def check_whole(archive: Path) -> None:
    """ServiceError where there is no archive, or one of which a byte is not as it was written.

    TorchServe would say no more than that it could not read it.
    """
    if not archive.exists():
        raise ServiceError(f"the archive {shown(archive)} does not exist; `make archive` builds it")
    try:
        with zipfile.ZipFile(archive) as file:
            damaged = file.testzip() is not None
    except (zipfile.BadZipFile, OSError):
        damaged = True
    if damaged:
        raise ServiceError(f"the archive {shown(archive)} is damaged; remove it and build it again")


def model_in(archive: Path) -> str:
    """The name of the preset that is packed in the archive; the archive's own where it has none."""
    try:
        with zipfile.ZipFile(archive) as file:
            return str(yaml.safe_load(file.read("preset.yaml"))["name"])
    except KeyError:
        return shown(archive)


def stop(folder: Path) -> bool:
    """End the instance in `folder`, all its processes; returns whether there was one.

    Requests that run behind a gateway get their answers first. A gateway alone, whose TorchServe
    is gone, is an instance too.
    """
    had_gateway = False
    try:
        had_gateway = gateway.stop(gateway_folder(folder))
    finally:  # also where Ctrl-C says that those requests are not to be waited for
        group = running_group(folder)
        if group is not None:
            end_group(group)
        remove_temp(folder)
    return had_gateway or group is not None


def run(archive: Path, folder: Path, ports: Ports, front: Gateway | None = None) -> None:
    """Serve the archive until Ctrl-C, behind `front` if there is one, which then is drained first.

    Raises ServiceError where one of them ends by itself.
    """
    with running_service(archive, folder, ports) as service:
        try:
            where = service.predictions
            if front is not None:  # not the token itself: a supervisor keeps what is printed
                where = f"{front.predictions} (token: {shown(front.folder / 'token')})"
            say(f"serving at {where}; Ctrl-C stops it")
            reason = None
            while reason is None:
                time.sleep(1)
                reason = why_ended(service, front)
        except KeyboardInterrupt:
            say("stopping")
            return
        finally:
            if front is not None:
                gateway.stop(front.folder)
    raise ServiceError(reason)


def run_behind_gateway(
    archive: Path, folder: Path, ports: Ports, https: int, certificate: Certificate | None = None
) -> None:
    """Serve the archive over HTTPS on the port `https` until Ctrl-C; raises as `run` does."""
    front = start_gateway(folder, ports, https, certificate)
    try:
        run(archive, folder, ports, front)
    finally:
        gateway.stop(front.folder)  # where TorchServe did not start: `run` had nothing to drain


def start_gateway(
    folder: Path, ports: Ports, https: int, certificate: Certificate | None
) -> Gateway:
    return gateway.start(
        gateway_folder(folder), ports.inference, tiny_image(), https, certificate=certificate
    )


def why_ended(service: Service, front: Gateway | None) -> str | None:
    """What has ended by itself, TorchServe or the gateway, and its reason; None where both run."""
    if running_group(service.folder) is None:
        return f"TorchServe ended by itself: {last_words(service)}"
    if front is not None and gateway.master_of(front.folder) is None:
        return f"nginx ended by itself: see {shown(front.folder / 'error.log')}"
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.service", description=__doc__.split("\n")[0]
    )
    parser.add_argument("command", choices=("start", "stop", "run"))
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    parser.add_argument(
        "--gateway", action="store_true", help="start, run: behind nginx, with TLS and a token"
    )
    parser.add_argument(
        "--https-port", type=int, help=f"the gateway's; default: --port + {gateway.HTTPS_OFFSET}"
    )
    parser.add_argument("--certificate", type=Path, help="the gateway's, PEM; default: a new one")
    parser.add_argument("--key", type=Path, help="of the certificate, PEM")
    options = parser.parse_args(arguments)
    if (options.certificate is None) != (options.key is None):
        parser.error("--certificate and --key go together")
    own = options.certificate and Certificate(options.certificate, options.key)
    https = options.https_port or options.port + gateway.HTTPS_OFFSET
    folder = folder_for(options.port)

    def program() -> int:
        if options.command == "stop":
            was_running = stop(folder)
            say("stopped" if was_running else f"nothing runs on port {options.port}")
        elif options.command == "start" and options.gateway:
            front = start_behind_gateway(
                options.archive, folder, ports_from(options.port), https, own
            )
            say(gateway.how_to_call(front))
        elif options.command == "start":
            start(options.archive, folder, ports_from(options.port))
        elif options.gateway:
            run_behind_gateway(options.archive, folder, ports_from(options.port), https, own)
        else:
            run(options.archive, folder, ports_from(options.port))
        return 0

    return exit_status(program)


if __name__ == "__main__":
    sys.exit(main())

"""Start, stop or run the service, or give it another archive: TorchServe or Ray on loopback.

    python -m scripts.service start --archive build/segmenter.mar --port 8080

An instance keeps the archive that it serves; --archive gives it another one. With --gateway, nginx
is put in front of it, for a network: see scripts/launch/gateway.py. Each option but --engine has
its default from the environment: scripts/launch/environment.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.archive.latest import LATEST_ARCHIVE
from scripts.common.terminal import exit_status, say
from scripts.launch.archives import keep
from scripts.launch.arguments import parsed
from scripts.launch.cors import parse_origins
from scripts.launch.credentials import Certificate
from scripts.launch.deployment import archive_to_start, deploy
from scripts.launch.foreground import run, run_behind_gateway
from scripts.launch.gateway import ANY_ADDRESS, HTTPS_OFFSET, how_to_call
from scripts.launch.ingress import Ingress, parse_proxies
from scripts.launch.instance import folder_for
from scripts.launch.lifecycle import start, start_behind_gateway, stop
from scripts.launch.on_ray import deploy_on_ray, start_on_ray, stop_on_ray
from scripts.launch.ports import HOST, ports_from


def execute(options: argparse.Namespace) -> int:
    port, folder = options.port, folder_for(options.port)
    if options.command == "stop":
        stopped = stop_on_ray(folder) or stop(folder)
        say("stopped" if stopped else f"nothing runs on port {port}")
        return 0
    if options.engine == "ray":
        execute_on_ray(options.command, options.archive, folder, port)
        return 0
    if options.command == "deploy":
        deploy(options.archive or LATEST_ARCHIVE, folder, port)
        return 0
    origins = parse_origins(options.cors_origins)
    archive = archive_to_start(options.archive, folder, port)
    front_port = options.gateway_port or port + HTTPS_OFFSET
    certificate = options.certificate and Certificate(options.certificate, options.key)
    ports = ports_from(port)
    metrics_host = ANY_ADDRESS if options.open_metrics else HOST
    if options.command == "run" and options.gateway:
        ingress = Ingress(options.plain_http, parse_proxies(options.proxies))
        run_behind_gateway(
            *(archive, folder, ports, front_port, certificate, origins),
            ingress=ingress,
            token=options.token_file,
            metrics_host=metrics_host,
        )
    elif options.command == "run":
        run(archive, folder, ports, origins=origins, metrics_host=metrics_host)
    elif options.gateway:
        front = start_behind_gateway(archive, folder, ports, front_port, certificate, origins)
        keep(archive)
        say(how_to_call(front))
    else:
        start(archive, folder, ports, origins)
        keep(archive)
    return 0


def execute_on_ray(command: str, archive: Path | None, folder: Path, port: int) -> None:
    if command == "deploy":
        deploy_on_ray(archive or LATEST_ARCHIVE, folder, port)
        return
    to_serve = archive_to_start(archive, folder, port)
    start_on_ray(to_serve, folder, port)
    keep(to_serve)


def main(arguments: list[str] | None = None) -> int:
    return exit_status(lambda: execute(parsed(arguments)))


if __name__ == "__main__":
    sys.exit(main())

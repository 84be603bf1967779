"""Start, stop or run the service, or give it another archive: TorchServe or Ray on loopback.

    python -m scripts.service start --archive build/segmenter.mar --port 8080

An instance keeps the archive that it serves; --archive gives it another one. With --gateway, nginx
is put in front of it, for a network: see scripts/launch/gateway.py. Each option but --engine has
its default from the environment: scripts/launch/environment.py.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from scripts.archive.latest import LATEST_ARCHIVE
from scripts.common.terminal import exit_status, say
from scripts.launch.archives import keep
from scripts.launch.cors import parse_origins
from scripts.launch.credentials import Certificate
from scripts.launch.deployment import archive_to_start, deploy
from scripts.launch.environment import take_defaults
from scripts.launch.foreground import run, run_behind_gateway
from scripts.launch.gateway import ANY_ADDRESS, HTTPS_OFFSET, how_to_call
from scripts.launch.ingress import Ingress, parse_proxies
from scripts.launch.instance import DEFAULT_PORT, folder_for
from scripts.launch.lifecycle import start, start_behind_gateway, stop
from scripts.launch.on_ray import deploy_on_ray, start_on_ray, stop_on_ray
from scripts.launch.ports import HOST, ports_from


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.service", description=__doc__.split("\n")[0]
    )
    parser.add_argument("command", choices=("start", "stop", "run", "deploy"))
    parser.add_argument(
        "--archive",
        type=Path,
        help="start, run: default: the one that is kept; deploy: default: the one built last",
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    parser.add_argument(
        "--engine", choices=("torchserve", "ray"), default="torchserve", help="default: %(default)s"
    )
    parser.add_argument(
        "--gateway", action="store_true", help="start, run: behind nginx, with TLS and a token"
    )
    parser.add_argument(
        *("--gateway-port", "--https-port"),
        type=int,
        help=f"the gateway's; default: --port + {HTTPS_OFFSET}",
    )
    parser.add_argument("--certificate", type=Path, help="the gateway's, PEM; default: a new one")
    parser.add_argument("--key", type=Path, help="of the certificate, PEM")
    parser.add_argument(
        "--cors-origins",
        default="",
        help="start, run: origins whose pages may send requests, between commas, or *",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        help="run: the gateway's token, 64 hexadecimal digits; default: one it makes and keeps",
    )
    parser.add_argument(
        "--plain-http",
        action="store_true",
        help="run: the gateway takes HTTP, from a proxy that ends TLS; between them the token "
        "crosses the network in clear",
    )
    parser.add_argument(
        "--proxies",
        default="",
        help="run: networks between commas, such as 10.0.0.0/8, whose X-Forwarded-For the gateway "
        "believes, so that its limits are each client's",
    )
    parser.add_argument(
        "--open-metrics",
        action="store_true",
        help="run: metrics on all interfaces, without a token; default: on loopback",
    )
    take_defaults(parser, os.environ)
    options = parser.parse_args(arguments)
    if options.command in ("start", "run"):
        check_combination(options, parser)
    return options


def check_combination(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Exits where options of start and run exclude each other, by parser.error.

    The other commands leave them alone, as the environment may set them for the service's own run.
    """
    of_run = options.token_file or options.plain_http or options.proxies or options.open_metrics
    if of_run and options.command == "start":
        parser.error(
            "--token-file, --plain-http, --proxies and --open-metrics are of a service in the "
            "foreground: run"
        )
    if (options.token_file or options.plain_http or options.proxies) and not options.gateway:
        parser.error("--token-file, --plain-http and --proxies are the gateway's: give --gateway")
    if (options.certificate is None) != (options.key is None):
        parser.error("--certificate and --key go together")
    if options.engine == "ray" and (
        options.command == "run" or options.gateway or options.cors_origins
    ):
        parser.error(
            "Ray runs in the background, and without a gateway and origins: make start ENGINE=ray"
        )


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

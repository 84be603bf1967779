"""The command line of scripts.service."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from scripts.launch.environment import take_defaults
from scripts.launch.gateway import HTTPS_OFFSET
from scripts.launch.instance import DEFAULT_PORT

DESCRIPTION = "Start, stop or run the service, or give it another archive: TorchServe or Ray."


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The options; ends the program where they do not fit together, as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m scripts.service", description=DESCRIPTION)
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

"""The arguments that say where the service is and how to get in, for every program that uses it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import urllib3

from segmenter_client.cli.terminal import UserError, printable
from segmenter_client.service import Service

DEFAULT_URL: Final = "http://127.0.0.1:8080/predictions/segmenter"

# The token's environment variable: arguments are visible to all users of a machine, in ps.
TOKEN_VARIABLE: Final = "SEGMENTER_TOKEN"

DEFAULT_RETRIES: Final = 6


def add_address_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the service is, and how to get in."""
    parser.add_argument("--url", type=service_url, default=DEFAULT_URL, help="default: %(default)s")
    add_access_arguments(parser)


def add_access_arguments(parser: argparse.ArgumentParser) -> None:
    """The gateway's token and certificate, for `connect`."""
    parser.add_argument(
        "--token", help=f"the gateway's; safer in the environment variable {TOKEN_VARIABLE}"
    )
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--cacert", type=certificate_file, help="trust this certificate (PEM)")
    trust.add_argument("--insecure", action="store_true", help="trust any certificate")


def connect(
    options: argparse.Namespace, *, connections: int = 1, retries: int = DEFAULT_RETRIES
) -> Service:
    """The service at `options.url`, for so many threads. Raises UserError as `connect_to`."""
    return connect_to(options.url, options, connections=connections, retries=retries)


def connect_to(
    url: str, options: argparse.Namespace, *, connections: int = 1, retries: int = DEFAULT_RETRIES
) -> Service:
    """The service at an address. Raises UserError for an unusable token or proxy."""
    if options.insecure:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    try:
        return Service(
            url,
            token=options.token or os.environ.get(TOKEN_VARIABLE) or None,
            verify=options.cacert or not options.insecure,
            connections=connections,
            retries=retries,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def service_url(text: str) -> str:
    if urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as {DEFAULT_URL}")
    return text


def certificate_file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"no such certificate: {printable(text)}")
    return Path(text)


def int_at_least(minimum: int) -> Callable[[str], int]:
    """An argument's type: a whole number that is not below the minimum."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {minimum} or more")
        return int(text)

    return parse

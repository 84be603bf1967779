"""`segmenter models`: the models at several addresses, a line each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from segmenter_client.cli.access import (
    DEFAULT_URL,
    add_access_arguments,
    connect_to,
    service_url,
)
from segmenter_client.cli.terminal import say
from segmenter_client.errors import SegmenterError

# "sha256:" and enough digits to tell models apart.
DIGEST_CHARACTERS: Final = 19


def run(arguments: Sequence[str]) -> int:
    """The exit status: 0 if there is a model at each address. Raises UserError."""
    parser = argparse.ArgumentParser(
        prog="segmenter models",
        description="Which model is at an address? A version may end it: .../segmenter/2.0",
    )
    parser.add_argument(
        "urls", nargs="*", type=service_url, metavar="URL", help=f"default: {DEFAULT_URL}"
    )
    add_access_arguments(parser)
    options = parser.parse_args(arguments)
    status = 0
    for url in options.urls or [DEFAULT_URL]:
        with connect_to(url, options, retries=0) as service:
            try:
                model = service.model()
            except SegmenterError as error:
                say(f"failed: {url}: {error}")
                status = 1
                continue
        digest = model.digest[:DIGEST_CHARACTERS]
        print(f"{model.name} {model.version}  {digest}  {len(model.classes)} classes  {url}")
    return status

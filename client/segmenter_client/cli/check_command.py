"""`segmenter check`: whether the service is there, and what it does."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from segmenter_client.cli.access import add_address_arguments, connect
from segmenter_client.cli.terminal import say
from segmenter_client.errors import SegmenterError
from segmenter_client.formats import FILE_SUFFIXES
from segmenter_client.model_card import ModelCard


def run(arguments: Sequence[str]) -> int:
    """The exit status: 0 if the service responds. Raises UserError."""
    parser = argparse.ArgumentParser(
        prog="segmenter check", description="Is the service there, and what does it do?"
    )
    add_address_arguments(parser)
    options = parser.parse_args(arguments)
    with connect(options, retries=0) as service:
        started = time.monotonic()
        try:
            model = service.model()
        except SegmenterError as error:
            say(f"error: {error}")
            return 1
        seconds = time.monotonic() - started
    print(f"{service.url}: ready, responds in {1000 * seconds:.0f} ms")
    print(described(model))
    return 0


def described(model: ModelCard) -> str:
    """The model in lines of text."""
    limits = model.limits
    formats = [name for name in model.outputs if name in FILE_SUFFIXES]
    return "\n".join(
        [
            f"model:   {model.name} {model.version}, {model.precision}, {model.digest}",
            f"         {model.description}",
            f"classes: {', '.join(one.label for one in model.classes)}",
            f"reads:   {', '.join(limits.formats)}; at most {limits.max_bytes:,} bytes, "
            f"{limits.max_pixels:,} pixels, {limits.max_side:,} px a side",
            f"writes:  {', '.join(formats)}",
        ]
    )

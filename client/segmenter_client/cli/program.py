"""The console command: arguments in, images segmented, exit status out."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from segmenter_client.cli.access import connect
from segmenter_client.cli.arguments import parse_arguments
from segmenter_client.cli.folder_lock import locked_folder
from segmenter_client.cli.inputs import find_images, read_list, read_stdin
from segmenter_client.cli.outputs import request_outputs
from segmenter_client.cli.run import RunAborted, failure_reason, segment_images
from segmenter_client.cli.summary import RunSummary, report
from segmenter_client.cli.terminal import UserError, say
from segmenter_client.errors import SegmenterError
from segmenter_client.formats import is_text
from segmenter_client.service import Service

INTERRUPTED = 128 + signal.SIGINT


def run() -> NoReturn:
    """`main`, and an exit that does not wait for the requests in flight of a stopped run."""
    status = main()
    sys.stdout.flush()
    if threading.active_count() > 1:
        os._exit(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        service = connect(options, retries=options.retries)
        if options.images == ["-"]:
            (output_format,) = options.outputs
            return segment_stdin(service, output_format)
        return segment_files(service, options)
    except UserError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


def segment_stdin(service: Service, output_format: str) -> int:
    """Segment an image from stdin and write its output to stdout."""
    if sys.stdout.isatty() and not is_text(output_format):
        raise UserError(f"{output_format} is not text for a terminal; redirect it to a file with >")
    try:
        outputs = request_outputs(service, read_stdin(), [output_format])
    except (SegmenterError, OSError) as error:
        say(f"failed: stdin: {failure_reason(error)}")
        return 1
    sys.stdout.buffer.write(outputs.contents[output_format])
    sys.stdout.buffer.flush()
    return 0


def segment_files(service: Service, options: argparse.Namespace) -> int:
    listed = read_list(options.list) if options.list else []
    images = find_images([*options.images, *listed], options.output, options.recursive)
    if not images:
        raise UserError("no images found; --recursive includes folders in folders")
    summary, status = RunSummary(len(images)), 0
    with locked_folder(options.output):
        try:
            segment_images(
                images,
                service,
                options.outputs,
                concurrency=options.concurrency,
                summary=summary,
            )
        except RunAborted as aborted:
            say(f"stopped: {aborted}")
        except KeyboardInterrupt:
            say("stopped; the same command resumes the run")
            status = INTERRUPTED
        report(summary)
    return status or int(bool(summary.failures))

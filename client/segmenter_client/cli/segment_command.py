"""`segmenter IMAGES`: images segmented, their outputs written, what became of them reported."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from segmenter_client.cli.access import connect
from segmenter_client.cli.arguments import parse_arguments
from segmenter_client.cli.folder_lock import locked_folder
from segmenter_client.cli.inputs import InputImage, find_images
from segmenter_client.cli.lists import read_list
from segmenter_client.cli.outputs import missing_outputs
from segmenter_client.cli.run import RunAborted, failure_reason, model_of, segment_images
from segmenter_client.cli.sources import read_stdin
from segmenter_client.cli.summary import RunSummary, report
from segmenter_client.cli.summary_table import SummaryTable, summary_table
from segmenter_client.cli.terminal import UserError, say
from segmenter_client.errors import SegmenterError
from segmenter_client.formats import is_text
from segmenter_client.service import Service


def run(arguments: Sequence[str]) -> int:
    """The exit status. Raises UserError."""
    options = parse_arguments(arguments)
    service = connect(options, connections=options.concurrency, retries=options.retries)
    if options.images == ["-"]:
        (output_format,) = options.outputs
        return segment_stdin(service, output_format)
    return segment_files(service, options)


def segment_stdin(service: Service, output_format: str) -> int:
    """Segment an image from stdin and write its output to stdout."""
    if sys.stdout.isatty() and not is_text(output_format):
        raise UserError(f"{output_format} is not text for a terminal; redirect it to a file with >")
    try:
        image = read_stdin(service.model().limits.max_bytes)
        output = service.predict(image, output_format)
    except (SegmenterError, OSError) as error:
        say(f"failed: stdin: {failure_reason(error)}")
        return 1
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()
    return 0


def segment_files(service: Service, options: argparse.Namespace) -> int:
    listed = read_list(options.list, options.column) if options.list else []
    images = find_images([*options.images, *listed], options.output, options.recursive)
    if not images:
        raise UserError("no images found; --recursive includes folders in folders")
    status = 0
    summary = RunSummary(len(images))
    with locked_folder(options.output), summary_table(options.summary) as table:
        waiting = [image for image in images if is_waiting(image, options.outputs, table)]
        summary.skipped = len(images) - len(waiting)
        try:
            if waiting:
                segment_images(
                    waiting,
                    service,
                    model_of(service),
                    options.outputs,
                    concurrency=options.concurrency,
                    summary=summary,
                    table=table,
                )
        except RunAborted as aborted:
            say(f"stopped: {aborted}")
        except KeyboardInterrupt:
            say("stopped; the same command resumes the run")
            status = 128 + signal.SIGINT
        report(summary)
    return status or int(summary.segmented + summary.skipped < len(images))


def is_waiting(
    image: InputImage, output_formats: Sequence[str], table: SummaryTable | None
) -> bool:
    """Whether an output of the image is missing, or its rows in the table."""
    return bool(missing_outputs(image, output_formats)) or (
        table is not None and not table.has(image.name)
    )

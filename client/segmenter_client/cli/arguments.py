"""The command line's arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segmenter_client.cli.access import (
    DEFAULT_RETRIES,
    add_address_arguments,
    int_at_least,
)
from segmenter_client.cli.summary_table import SUFFIXES
from segmenter_client.formats import FILE_SUFFIXES

DESCRIPTION: Final = (
    "Segment images by a running service: files, folders, globs, addresses, or one from stdin."
)

EXAMPLES: Final = """\
examples:
  segmenter photo.jpg
  segmenter --recursive photos --as mask,overlay --output segmented
  find photos -name '*.jpg' | segmenter --list -
  segmenter --list urls.csv --column url --summary classes.csv
  segmenter - < photo.jpg > mask.png
  segmenter check                  is the service there, and what does it do?
  segmenter models URL URL         which model is at an address?
  segmenter merge segmented        the COCO files of a folder as one, instances.json

The same command resumes a run that was stopped: outputs that exist are not requested again.
Exit status: 0 all done, 1 some failed, 2 invalid arguments, 130 stopped by Ctrl-C.
"""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="segmenter",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "images", nargs="*", help="files, folders, globs, https://, s3://, gs://; or - for stdin"
    )
    parser.add_argument("--list", metavar="FILE", help="more of them, one a line; - for stdin")
    parser.add_argument("--column", metavar="NAME", help="the list is CSV, and they are in it")
    parser.add_argument("--recursive", action="store_true", help="include folders in folders")
    parser.add_argument(
        "--as",
        dest="outputs",
        type=output_formats,
        default=["mask"],
        metavar="FORMATS",
        help=f"of {','.join(FILE_SUFFIXES)}; several with commas (default: mask)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("segmented"), help="folder (default: %(default)s)"
    )
    parser.add_argument(
        "--summary",
        type=table_file,
        metavar="FILE",
        help="table of the classes in every image: .csv or .parquet",
    )
    add_address_arguments(parser)
    parser.add_argument(
        "--concurrency",
        type=int_at_least(1),
        default=8,
        metavar="N",
        help="requests in flight (default: %(default)s)",
    )
    parser.add_argument(
        "--retries",
        type=int_at_least(0),
        default=DEFAULT_RETRIES,
        metavar="N",
        help="of a request while the service is unreachable or busy (default: %(default)s, "
        "in a minute)",
    )
    options = parser.parse_args(arguments)
    if not options.images and not options.list:
        parser.error("name images, folders, or - for stdin")
    if options.column and not options.list:
        parser.error("--column names a column of --list")
    if "-" in options.images and (len(options.images) > 1 or options.list or options.summary):
        parser.error("an image from stdin (-) cannot be combined with others, nor with --summary")
    if "-" in options.images and len(options.outputs) > 1:
        parser.error("an image from stdin has one output format, written to stdout")
    return options


def table_file(text: str) -> Path:
    if not text.endswith(SUFFIXES):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {' or '.join(SUFFIXES)}")
    return Path(text)


def output_formats(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in FILE_SUFFIXES:
            raise argparse.ArgumentTypeError(
                f"no output format {name!r}; choose from {', '.join(FILE_SUFFIXES)}"
            )
    return names

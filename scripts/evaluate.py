"""Measure a preset on a folder of photos and masks: mean IoU, IoU per class, pixel accuracy.

    python -m scripts.evaluate --preset street-resnet18 --data FOLDER
    python -m scripts.evaluate --preset street-resnet18 --data FOLDER --url http://HOST/predictions/NAME

The first runs the service's own pipeline in this process, the second sends the photos to a running
service, behind a gateway with --token and --cacert; the figures are the same. With --by-sequence
each sequence (a frame's file name up to the last underscore) gets figures of its own, and mean IoUs
get 95 % confidence intervals by bootstrap over the frames.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.calibration_file import CalibrationError
from model.preset import PresetError, load_preset
from scripts.archive.checkpoint import CheckpointError
from scripts.common.terminal import exit_status
from scripts.training.dataset import find_frames
from scripts.training.evaluation import confusions, in_process, load_network, over_http
from scripts.training.metrics import scores_of
from scripts.training.report import json_text, scores_by_sequence, table, with_interval
from segmenter_client.cli.access import add_access_arguments, connect, int_at_least


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.evaluate", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--preset", required=True, help="a preset's name or file")
    add("--data", type=Path, required=True, help="folder of images/ and masks/")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--weights", type=Path, help="a checkpoint instead of the preset's own")
    source.add_argument("--url", help="a running service, as http://HOST:PORT/predictions/NAME")
    add_access_arguments(parser)
    precisions = ("auto", "fp32", "bf16", "int8")
    add("--precision", default="auto", choices=precisions, help="without --url")
    add("--short-side", type=int, metavar="PX", help="scale photos and masks to it first")
    add(
        "--concurrency",
        type=int_at_least(1),
        default=8,
        metavar="N",
        help="requests at a time (default: 8)",
    )
    add(
        "--by-sequence",
        action="store_true",
        help="figures of each sequence, too, with confidence intervals",
    )
    add("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    preset = load_preset(options.preset)
    frames = find_frames(options.data)
    if options.url:
        predict = over_http(connect(options, connections=options.concurrency))
    else:
        predict = in_process(load_network(preset, options.weights, options.precision), preset)
    counts = confusions(
        predict,
        frames,
        preset,
        short_side=options.short_side,
        concurrency=options.concurrency if options.url else 1,
    )
    scores = (with_interval if options.by_sequence else scores_of)(counts, preset.labels)
    sequences = scores_by_sequence(counts, frames, preset.labels) if options.by_sequence else {}
    if options.json:
        print(json_text(scores, sequences))
    else:
        print(table({"all": scores, **sequences}))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return exit_status(lambda: run(options), PresetError, CheckpointError, CalibrationError)


if __name__ == "__main__":
    sys.exit(main())

"""Time the service against the plain ways of doing the same, in one run on this machine.

    python -m scripts.benchmark [--photo FILE] [--json FILE]

The contenders' runs are interleaved, so that whatever else the machine does affects all of them;
figures are medians.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from model.preset import PresetError
from scripts.archive.checkpoint import CheckpointError
from scripts.bench.cpu import all_timings, run_conditions, timing_tables
from scripts.bench.inputs import PHOTO_SIZES, drawn_jpeg
from scripts.common.terminal import exit_status

ROUNDS = 7  # of each contender: a median of seven is not moved by two outliers


def run(options: argparse.Namespace) -> int:
    if options.photo:
        photos = {options.photo.name: options.photo.read_bytes()}
    else:
        photos = {"640x491": drawn_jpeg(PHOTO_SIZES["0.3 MP"])}
    photos["4000x3000"] = drawn_jpeg(PHOTO_SIZES["12 MP"])
    timings = list(all_timings(options.preset, photos, options.rounds))
    conditions = run_conditions()
    print("\n".join(f"{key}: {value}" for key, value in conditions.items()), end="\n\n")
    print(timing_tables(timings))
    if options.json:
        report = {"conditions": conditions, "figures": [asdict(timing) for timing in timings]}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.benchmark", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--preset", default="voc-resnet50", help="one with torchvision's Bottleneck backbones")
    add("--photo", type=Path, help="a photo instead of a drawing of 640x491")
    add("--rounds", type=int, default=ROUNDS, help="of each contender")
    add("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options), PresetError, CheckpointError, OSError)


if __name__ == "__main__":
    sys.exit(main())

"""Keep a service saturated for many minutes and check every response against its own photo's.

    python -m scripts.soak --minutes 30 --photos folder

Drawn photos of many sizes and formats, and those of a folder, are sent to a service started for
this, in every output format, interleaved with invalid requests. Memory and threads are monitored.
Exit status 1 if a response is wrong, an error is unexpected, a worker dies or its memory grows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from scripts.archive.latest import LATEST_ARCHIVE
from scripts.common.terminal import ROOT, exit_status, say, shown
from scripts.launch.lifecycle import running_instance
from scripts.stress.soak.expected_responses import checked_requests
from scripts.stress.soak.figures import soak_figures
from scripts.stress.soak.load import run_load
from scripts.stress.soak.photos import drawn_photos, photos_in
from scripts.stress.soak.reference import reference_model
from scripts.stress.soak.report import figures_table, machine_conditions, write_report
from scripts.training.evaluation import in_process
from serving.runtime.loading import ArchiveError

# More clients than a batch (8): while one batch is computed, the next is complete in the queue.
CLIENTS = 12
DRAWN_PHOTOS = 60


def run(options: argparse.Namespace) -> int:
    photos = drawn_photos(DRAWN_PHOTOS) + (photos_in(options.photos) if options.photos else [])
    model = reference_model(options.archive)
    conditions = machine_conditions(model)
    predict = in_process(model.net, model.preset)
    load = checked_requests(
        tqdm(photos, desc="expected masks", unit="photo", disable=None), predict
    )
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        running_instance(options.archive, Path(folder)) as instance,
    ):
        result = run_load(instance, load, 60 * options.minutes, CLIENTS)
    figures = soak_figures(result, conditions, len(photos), CLIENTS)
    print(
        json.dumps(dataclasses.asdict(figures), indent=2)
        if options.json
        else figures_table(figures)
    )
    if not result.finished:
        return 128 + signal.SIGINT
    say(f"written to {shown(write_report(figures, options.output))}")
    return 1 if figures.failed_criteria() else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.soak", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=30, help="default: %(default)s")
    parser.add_argument("--photos", type=Path, help="a folder of photos beside those drawn")
    parser.add_argument("--archive", type=Path, default=LATEST_ARCHIVE, help="default: %(default)s")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "soak", help="folder; default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options), ArchiveError)


if __name__ == "__main__":
    sys.exit(main())

"""Compare the throughput of `segmenter` with a bare load generator's, against a new instance.

python -m scripts.bench_client --images 1000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import requests

from scripts.archive.latest import LATEST_ARCHIVE
from scripts.bench.client import compare
from scripts.common.terminal import exit_status
from scripts.launch.lifecycle import running_instance


def run(options: argparse.Namespace) -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        running_instance(options.archive, Path(folder)) as instance,
    ):
        throughputs = compare(instance.predictions, options.images, options.clients, options.rounds)
    print(f"load generator {throughputs.load_generator:7.1f} img/s")
    print(f"segmenter      {throughputs.segmenter:7.1f} img/s")
    print(f"ratio          {throughputs.ratio:7.2f}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench_client", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--archive", type=Path, default=LATEST_ARCHIVE, help="default: %(default)s")
    add("--images", type=int, default=1000, help="default: %(default)s")
    add("--clients", type=int, default=8, help="requests in flight (default: %(default)s)")
    add("--rounds", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args(arguments)
    faults = (requests.RequestException, subprocess.CalledProcessError)
    return exit_status(lambda: run(options), *faults)


if __name__ == "__main__":
    sys.exit(main())

"""How fast client/segmenter_client/cli.py is beside clients that only wait for their masks.

    python -m scripts.bench_client --images 1000

Starts a service of its own. Both send the same files, the same number at a time, and take turns, so
that what else the machine does meets both; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from PIL import Image
from tqdm import tqdm

from scripts.common.street import draw_street
from scripts.common.terminal import ROOT, exit_status
from scripts.launch.loopback import session
from scripts.launch.service import ARCHIVE, running_service

TIMEOUT = 120.0  # seconds for one answer


def draw_images(folder: Path, number: int) -> list[Path]:
    """Streets that are shifted against each other, so that no two files are the same."""
    street = draw_street()
    paths = [folder / f"{index:06}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        shifted = Image.new("RGB", street.size, (index % 256, index // 256 % 256, 0))
        shifted.paste(street, (index % street.width, 0))
        shifted.paste(street, (index % street.width - street.width, 0))
        shifted.putpixel((0, 0), (index % 256, index // 256 % 256, 0))
        shifted.save(path, quality=90)
    return paths


def generate_load(url: str, paths: Sequence[Path], clients: int) -> None:
    """Ask for every mask, and leave it at that. Raises requests.RequestException."""

    stopping = threading.Event()

    def client(first: int) -> None:
        with session() as http:
            for path in paths[first::clients]:
                if stopping.is_set():
                    return
                http.post(url, data=path.read_bytes(), timeout=TIMEOUT).raise_for_status()

    with ThreadPoolExecutor(clients) as pool:
        try:
            list(pool.map(client, range(clients)))
        finally:
            stopping.set()


def run_segment(url: str, folder: Path, clients: int) -> None:
    """The program as a user runs it, its start included, into a folder that is new."""
    command = [sys.executable, "-m", "scripts.segment", str(folder), "--url", url]
    with tempfile.TemporaryDirectory() as output:
        options = ["--concurrency", str(clients), "--output", str(Path(output, "masks"))]
        subprocess.run([*command, *options], check=True, cwd=ROOT, capture_output=True)


def seconds_of(task: Callable[[], None]) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def run(options: argparse.Namespace) -> int:
    seconds: dict[str, list[float]] = {"load generator": [], "segment.py": []}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        images.mkdir()
        paths = draw_images(images, options.images)
        with running_service(options.archive, Path(folder, "service")) as service:
            url = service.predictions
            generate_load(url, paths[: 2 * options.clients], options.clients)  # warm-up
            for _ in tqdm(range(options.rounds), "comparing", leave=False, unit="round"):
                seconds["load generator"].append(
                    seconds_of(lambda: generate_load(url, paths, options.clients))
                )
                seconds["segment.py"].append(
                    seconds_of(lambda: run_segment(url, images, options.clients))
                )
    rates = {name: options.images / statistics.median(each) for name, each in seconds.items()}
    for name, rate in rates.items():
        print(f"{name:<15} {rate:7.1f} images/s")
    print(f"{'ratio':<15} {rates['segment.py'] / rates['load generator']:7.2f}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench_client", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="default: %(default)s")
    parser.add_argument("--images", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--clients", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args(arguments)
    faults = (requests.RequestException, subprocess.CalledProcessError)
    return exit_status(lambda: run(options), *faults)


if __name__ == "__main__":
    sys.exit(main())

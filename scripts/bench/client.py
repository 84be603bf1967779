"""The throughput of the client's command line beside a bare load generator's.

Both send the same files to one service, the same number in flight, in interleaved runs, so that
whatever else the machine does affects both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from scripts.common.street import draw_street
from scripts.common.terminal import ROOT
from scripts.launch.loopback import session

TIMEOUT = 120.0  # seconds without data


@dataclass(frozen=True)
class Throughputs:
    """img/s, the medians of all rounds."""

    load_generator: float
    segmenter: float

    @property
    def ratio(self) -> float:
        return self.segmenter / self.load_generator


def compare(url: str, num_images: int, concurrency: int, rounds: int) -> Throughputs:
    """Time both against the service at `url`, after a warm-up.

    Raises requests.RequestException or subprocess.CalledProcessError for a request that fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = draw_images(folder, num_images)
        generate_load(url, paths[: 2 * concurrency], concurrency)
        load_seconds, segmenter_seconds = [], []
        for _ in tqdm(range(rounds), "comparing", leave=False, unit="round", disable=None):
            load_seconds.append(seconds_of(lambda: generate_load(url, paths, concurrency)))
            segmenter_seconds.append(seconds_of(lambda: run_segmenter(url, folder, concurrency)))
    return Throughputs(
        load_generator=num_images / statistics.median(load_seconds),
        segmenter=num_images / statistics.median(segmenter_seconds),
    )


def draw_images(folder: Path, number: int) -> list[Path]:
    """JPEG files of a street, each shifted differently, so that no two are the same."""
    street = draw_street()
    paths = [folder / f"{index:06}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        shifted = Image.new("RGB", street.size, (index % 256, index // 256 % 256, 0))
        shifted.paste(street, (index % street.width, 0))
        shifted.paste(street, (index % street.width - street.width, 0))
        shifted.putpixel((0, 0), (index % 256, index // 256 % 256, 0))
        shifted.save(path, quality=90)
    return paths


def generate_load(url: str, paths: Sequence[Path], concurrency: int) -> None:
    """Request every image's mask and discard it. Raises requests.RequestException."""
    stopping = threading.Event()

    def send_share(first: int) -> None:
        with session() as http:
            for path in paths[first::concurrency]:
                if stopping.is_set():
                    return
                http.post(url, data=path.read_bytes(), timeout=TIMEOUT).raise_for_status()

    with ThreadPoolExecutor(concurrency) as pool:
        try:
            list(pool.map(send_share, range(concurrency)))
        finally:
            stopping.set()


def run_segmenter(url: str, images: Path, concurrency: int) -> None:
    """The program as a user runs it, its start included, into an empty folder."""
    command = [sys.executable, "-m", "scripts.segment", str(images), "--url", url]
    with tempfile.TemporaryDirectory() as output:
        options = ["--concurrency", str(concurrency), "--output", str(Path(output, "masks"))]
        subprocess.run([*command, *options], check=True, cwd=ROOT, capture_output=True)


def seconds_of(task: Callable[[], None]) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started

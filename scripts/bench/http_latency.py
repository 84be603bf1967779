"""Whole requests over HTTP: the baselines, ours behind TorchServe, and ours without any engine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import requests
import torch

from model.preset import Preset
from scripts.bench.timing import Timing, Workload, time_interleaved
from scripts.launch.lifecycle import running_instance
from scripts.launch.loopback import session
from serving.runtime.device import pick_device, share_cores
from serving.runtime.service import SegmentationService, load_service
from serving.types import HttpRequest

CLIENTS = (1, 2, 4, 8)
PHOTOS_PER_CLIENT = 3  # in each round
CLIENT_ROUNDS = 3  # with several clients
TIMEOUT_SECONDS = 600  # the slowest baseline has eight clients


def http_timings(
    preset: Preset, weights: Path, archive: Path, photos: Mapping[str, bytes], rounds: int
) -> Iterator[Timing]:
    """One client with each of the JPEGs `photos`, then several clients with the first one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        urls = {
            "plain recipe": stack.enter_context(running_baseline(preset, weights, "recipe")),
            "image_segmenter's way (224x224)": stack.enter_context(
                running_baseline(preset, weights, "image_segmenter")
            ),
            "ours": stack.enter_context(running_instance(archive, folder)).predictions,
        }
        service = stack.enter_context(service_in_process(archive, folder / "archive"))
        http = stack.enter_context(session())
        for name, data in photos.items():
            tasks: dict[str, Workload] = {
                contender: partial(post, http, url, data) for contender, url in urls.items()
            }
            yield from time_interleaved(f"over HTTP, one client, {name}", tasks, rounds)
        data = next(iter(photos.values()))
        for clients in CLIENTS:
            tasks = {
                contender: partial(post_concurrently, http, url, data, clients)
                for contender, url in urls.items()
            }
            tasks["ours, in this process"] = partial(respond_to_batches, service, data, clients)
            section = f"over HTTP, {clients} clients, per response"
            for timing in time_interleaved(section, tasks, CLIENT_ROUNDS):
                num_responses = clients * PHOTOS_PER_CLIENT
                yield replace(timing, milliseconds=timing.milliseconds / num_responses)


@contextmanager
def running_baseline(preset: Preset, weights: Path, way: str) -> Iterator[str]:
    """The URL of a baseline in its own process, which ends with the `with` block."""
    command = [
        *(sys.executable, "-m", "scripts.bench.baselines", "--way", way, "--preset", preset.name),
        *("--weights", str(weights), "--threads", str(torch.get_num_threads())),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def service_in_process(archive: Path, folder: Path) -> Iterator[SegmentationService]:
    """The archive's service in this process, as a worker loads it; unpacked into `folder`."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    service = load_service(folder, "1", pick_device(None), threads=share_cores(workers=1))
    try:
        yield service
    finally:
        service.close()


def respond_to_batches(service: SegmentationService, data: bytes, clients: int) -> None:
    """As many batches of `clients` photos as there are photos per client."""
    request = HttpRequest("benchmark", {"content-type": "image/jpeg"}, {"body": data})
    for _ in range(PHOTOS_PER_CLIENT):
        service.respond([request] * clients)


def post(http: requests.Session, url: str, data: bytes) -> bytes:
    headers = {"Content-Type": "image/jpeg"}
    response = http.post(url, data=data, headers=headers, timeout=TIMEOUT_SECONDS)
    response.raise_for_status()
    return response.content


def post_concurrently(http: requests.Session, url: str, data: bytes, clients: int) -> None:
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: post(http, url, data), range(clients * PHOTOS_PER_CLIENT)))

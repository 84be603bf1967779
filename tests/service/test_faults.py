"""Faults on a real TorchServe: what clients see, when it recovers, and whose mask they get.

`pytest -s tests/service/test_faults.py` prints the table of docs/faults.md at its end.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
import yaml
from PIL import Image

from model.digest import sha256_of
from model.preset import dump_preset, load_preset
from scripts.launch.instance import LaunchError
from scripts.launch.lifecycle import running_instance, start
from scripts.launch.loopback import session
from scripts.launch.ports import free_ports
from serving.runtime.loading import load_model
from tests.photos import agreement, encoded, photo
from tests.scripts.launch.running import processes_of
from tests.service.conftest import RunningModel

pytestmark = pytest.mark.service

TIMEOUT = 60  # seconds: a bound against hanging, far above what a response takes

# TorchServe's settings here: seconds and requests small enough to be exceeded in a test.
RESPONSE_TIMEOUT = 6
QUEUE = 16
BATCH = 8

# "Worker died.": the second where TorchServe knows already that it was by SIGKILL, which it takes
# for want of memory.
DIED = (500, 507)

# The archive's own handler, with a network whose faults are files in a folder:
#   wait    it does not respond before the file is gone
#   memory  it is out of memory for more images at once than the file says
HANDLER = """
import time
from dataclasses import replace
from pathlib import Path

import torch

import sound_handler

FAULTS = Path({faults!r})


def frail(net):
    def forward(pixels):
        while (FAULTS / "wait").exists():
            time.sleep(0.02)
        memory = FAULTS / "memory"
        if memory.exists() and len(pixels) > int(memory.read_text()):
            raise torch.cuda.OutOfMemoryError("simulated")
        return net(pixels)

    return forward


class Frail(sound_handler.SegmentationHandler):
    def initialize(self, context):
        super().initialize(context)
        model = self.service.model
        self.service.model = replace(model, net=frail(model.net))
"""


@dataclass(frozen=True)
class Picture:
    """A drawn photo, and the mask that is its own."""

    body: bytes
    mask: np.ndarray


@dataclass(frozen=True)
class Reply:
    """What a client got, and when, in seconds of time.monotonic(); status 0: no response."""

    sent: float
    done: float
    status: int
    right: bool  # its own picture's mask
    text: str  # of an error


@dataclass(frozen=True)
class Row:
    fault: str
    client_sees: str
    recovery: str


@pytest.fixture(scope="module")
def table() -> Iterator[list[Row]]:
    rows: list[Row] = []
    yield rows
    print("\n\n| fault | what clients see | recovers after |\n|---|---|---|")
    for row in rows:
        print(f"| {row.fault} | {row.client_sees} | {row.recovery} |")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture
def content(archive: Path, tmp_path: Path) -> Path:
    """The session's archive, unpacked, to be broken."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "content")
    return tmp_path / "content"


@pytest.fixture(scope="module")
def frail(
    archive: Path, faults: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningModel]:
    content = tmp_path_factory.mktemp("frail")
    with zipfile.ZipFile(archive) as file:
        file.extractall(content)
    (content / "handler.py").rename(content / "sound_handler.py")
    (content / "handler.py").write_text(HANDLER.format(faults=str(faults)))
    config = yaml.safe_load((content / "model-config.yaml").read_text())
    config.update(responseTimeout=RESPONSE_TIMEOUT, jobQueueSize=QUEUE)
    (content / "model-config.yaml").write_text(yaml.safe_dump(config))
    loaded = load_model(content, torch.device("cpu"))
    folder = tmp_path_factory.mktemp("service")
    with running_instance(packed(content, folder / "frail.mar"), folder / "run") as service:
        yield RunningModel(service, loaded)


@pytest.fixture(scope="module")
def pictures(frail: RunningModel) -> list[Picture]:
    """Each of its own size, so that no mask passes for another's; of three aspects, so that the
    network, which sees them all at its own size, gets them in groups."""
    sizes = [(height, height * wide // 4) for height in (40, 60, 80, 100) for wide in (4, 5, 6)]
    bodies = [encoded(photo(*size, seed), "PNG") for seed, size in enumerate(sizes)]
    return [Picture(body, frail.mask_in_process(body)) for body in bodies]


def packed(content: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(content.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(content))
    return archive


def ask(http: requests.Session, url: str, picture: Picture) -> Reply:
    sent = time.monotonic()
    try:
        response = http.post(url, data=picture.body, timeout=TIMEOUT)
    except requests.RequestException as error:
        return Reply(sent, time.monotonic(), 0, False, str(error))
    done = time.monotonic()
    if response.status_code != 200:
        return Reply(sent, done, response.status_code, False, response.text)
    mask = np.asarray(Image.open(io.BytesIO(response.content)))
    return Reply(sent, done, 200, agreement(mask, picture.mask) > 0.98, "")


@contextlib.contextmanager
def clients(url: str, pictures: Sequence[Picture], count: int) -> Iterator[list[Reply]]:
    """`count` of them, each on one connection, ask again and again until the block is left.

    Yields the replies so far; it grows.
    """
    replies: list[Reply] = []
    over = threading.Event()

    def client(first: int) -> None:
        with session() as http:
            for picture in itertools.islice(itertools.cycle(pictures), first, None):
                if over.is_set():
                    return
                replies.append(ask(http, url, picture))

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(client, first) for first in range(count)]
        try:
            yield replies
        finally:
            over.set()
    for ended in running:
        ended.result()


def wait_until(condition: Callable[[], object], seconds: float = TIMEOUT) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def described(model: RunningModel) -> dict[str, Any]:
    """TorchServe's view of the model: its settings, its worker."""
    response = session().get(f"{model.management_url}/models/segmenter", timeout=TIMEOUT)
    (model_and_worker,) = response.json()
    return dict(model_and_worker)


def worker_pid(model: RunningModel) -> int:
    return int(described(model)["workers"][0]["pid"])


def fault_under_load(
    model: RunningModel, pictures: Sequence[Picture], count: int, fault: Callable[[], None]
) -> tuple[list[Reply], float]:
    """The failed replies to `count` clients, and the seconds until one that asked after the fault
    got its mask. All others got theirs, and nobody another's."""
    with clients(model.url, pictures, count) as replies:
        wait_until(lambda: len(replies) > 3 * count)
        happened = time.monotonic()
        fault()
        wait_until(lambda: any(reply.sent > happened and reply.right for reply in replies))
        again = next(reply for reply in replies if reply.sent > happened and reply.right)
        served = len(replies)
        wait_until(lambda: len(replies) > served + 2 * count)
    assert all(reply.right for reply in replies if reply.status == 200)
    return [reply for reply in replies if reply.status != 200], again.done - happened


def statuses(failed: Sequence[Reply]) -> str:
    return ", ".join(str(status) for status in sorted({reply.status for reply in failed}))


def test_settings_that_bound_a_fault_are_taken(frail: RunningModel) -> None:
    """TorchServe ignores what it does not know, or takes for another type, and says nothing."""
    settings = described(frail)
    assert settings["responseTimeout"] == RESPONSE_TIMEOUT
    assert settings["maxRetryTimeoutInSec"] == 86_400


def test_a_worker_killed_under_load(
    frail: RunningModel, pictures: list[Picture], table: list[Row]
) -> None:
    pid = worker_pid(frail)
    killed = []

    def kill() -> None:
        os.kill(pid, signal.SIGKILL)
        killed.append(time.monotonic())

    failed, seconds = fault_under_load(frail, pictures, BATCH + QUEUE // 2, kill)

    assert worker_pid(frail) != pid
    assert (
        len(failed) <= BATCH
    )  # those in the worker's hands; who waited gets a response from the next
    assert all(reply.status in DIED and reply.sent < killed[0] for reply in failed), failed
    table.append(
        Row(
            "worker killed (SIGKILL) under load",
            f"{statuses(failed) or 'nothing'} for the batch in its hands ({len(failed)} of "
            f"{BATCH + QUEUE // 2} clients here); who waits gets a response from the next",
            f"{seconds:.1f} s",
        )
    )


def test_a_worker_stopped_past_the_response_timeout(
    frail: RunningModel, pictures: list[Picture], table: list[Row]
) -> None:
    pid = worker_pid(frail)
    failed, seconds = fault_under_load(
        frail, pictures, BATCH + QUEUE // 2, lambda: os.kill(pid, signal.SIGSTOP)
    )
    assert worker_pid(frail) != pid
    assert 0 < len(failed) <= BATCH
    assert all(reply.status in DIED for reply in failed), failed
    assert seconds > RESPONSE_TIMEOUT
    table.append(
        Row(
            "worker hangs (SIGSTOP) under load",
            f"{statuses(failed)} for the batch in its hands ({len(failed)} here), after "
            "`responseTimeout`; who waits gets a response from the next",
            f"{seconds:.1f} s, of which `responseTimeout` {RESPONSE_TIMEOUT} s (120 s as shipped)",
        )
    )


def test_more_requests_than_the_queue_holds(
    frail: RunningModel, faults: Path, pictures: list[Picture], table: list[Row]
) -> None:
    count = 3 * (BATCH + QUEUE)
    wait = faults / "wait"
    wait.touch()
    with ThreadPoolExecutor(count) as pool:
        asked = [
            pool.submit(ask, session(), frail.url, picture)
            for picture in itertools.islice(itertools.cycle(pictures), count)
        ]
        try:
            # A batch in the worker's hands and a full queue stay; all others are told so at once.
            wait_until(lambda: sum(one.done() for one in asked) >= count - BATCH - QUEUE)
        finally:
            wait.unlink()
    replies = [one.result() for one in asked]
    refused = [reply for reply in replies if reply.status == 503]
    succeeded = [reply for reply in replies if reply.status == 200]
    assert len(refused) + len(succeeded) == count
    assert len(succeeded) >= QUEUE + 1
    assert all(reply.right for reply in succeeded)
    reply = ask(session(), frail.url, pictures[0])
    assert reply.right
    slowest = max(reply.done - reply.sent for reply in refused)
    table.append(
        Row(
            "queue full",
            f"503 for those beyond it ({len(refused)} of {count} here), within {slowest:.1f} s; "
            "the others their responses",
            "at once, when there is room",
        )
    )


def test_out_of_cuda_memory(
    frail: RunningModel, faults: Path, pictures: list[Picture], table: list[Row]
) -> None:
    pid = worker_pid(frail)
    memory = faults / "memory"

    memory.write_text("1")
    with ThreadPoolExecutor(BATCH) as pool:
        replies = list(pool.map(lambda one: ask(session(), frail.url, one), pictures))
    assert all(reply.right for reply in replies), replies

    memory.write_text("0")
    response = session().post(frail.url, data=pictures[0].body, timeout=TIMEOUT)
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "2"
    assert response.json()["error"]["code"] == "overloaded"

    memory.unlink()
    assert ask(session(), frail.url, pictures[0]).right
    assert worker_pid(frail) == pid
    table.append(
        Row(
            "out of CUDA memory (simulated)",
            "nothing, where half a batch fits; else 503 with Retry-After for that image alone",
            "at once; the worker stays",
        )
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, large enough for the archive."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file in `folder` that leaves no room for another byte."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0"):
            pass
    return path


def test_a_full_disk(
    archive: Path, frail: RunningModel, small_disk: Path, pictures: list[Picture], table: list[Row]
) -> None:
    """Logs, the unpacked archive, the worker's socket and large multipart bodies are on it."""
    with running_instance(archive, small_disk / "run") as service:
        model = replace(frail, service=service)
        ballast = fill(small_disk)
        with clients(model.url, pictures, 4) as replies:
            wait_until(lambda: len(replies) > 24)
        assert all(reply.right for reply in replies)

        # Bodies of any kind stay in memory on their way.
        large = {"image": encoded(photo(1500, 2000), "BMP")}
        assert session().post(model.url, files=large, timeout=TIMEOUT).status_code == 200

        pid = worker_pid(model)
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda: ask(session(), model.url, pictures[0]).right)
        seconds = time.monotonic() - killed

        ballast.unlink()
        assert ask(session(), model.url, pictures[0]).right
    table.append(
        Row(
            "disk full under logs and temporary files",
            "nothing: only lines of the logs are lost",
            f"a worker killed meanwhile is back after {seconds:.1f} s",
        )
    )


def other_weights(content: Path) -> None:
    """As whole as the first ones, digest and all, but of a network with a convolution lost."""
    path = content / "weights.pth"
    state = torch.load(path, weights_only=True)
    state["backbone.layer1.0.conv1.weight"].zero_()
    torch.save(state, path)
    preset = load_preset(content / "preset.yaml")
    assert preset.weights is not None
    source = replace(preset.weights, file=path.name, sha256=sha256_of(path))
    dump_preset(replace(preset, weights=source), content / "preset.yaml")


def test_another_model_does_not_go_into_service(
    content: Path, tmp_path: Path, table: list[Row]
) -> None:
    other_weights(content)
    started = time.monotonic()
    with pytest.raises(LaunchError) as caught:
        start(packed(content, tmp_path / "other.mar"), tmp_path / "run", free_ports())
    seconds = time.monotonic() - started
    said = str(caught.value)
    reason = "the model does not reproduce the golden image"
    assert said.startswith(f"the worker died: serving.runtime.golden.NotReproduced: {reason}: its")
    assert "\n" not in said
    assert processes_of(tmp_path / "run") == []
    table.append(
        Row(
            "archive: weights with a convolution lost, their digest in order",
            f"it does not start: “{reason} …”",
            f"refused after {seconds:.1f} s",
        )
    )


def test_an_archive_damaged_as_a_file(archive: Path, tmp_path: Path, table: list[Row]) -> None:
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1  # in the weights, which are most of it
    broken = tmp_path / "broken.mar"
    broken.write_bytes(data)
    with pytest.raises(LaunchError, match=r"broken\.mar is damaged"):
        start(broken, tmp_path / "run", free_ports())
    table.append(Row("archive: damaged as a file", "it does not start: “… is damaged”", "at once"))

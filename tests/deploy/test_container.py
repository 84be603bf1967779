"""The image: what the Containerfile copies is enough, and an image that is given serves and drains.

    TEST_IMAGE=segmenter .venv/bin/python -m pytest tests/deploy/test_container.py

TEST_IMAGE is one that `make image` has built; that needs a registry and gigabytes, so that no test
builds it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from scripts.common.terminal import ROOT
from scripts.launch.environment import OPTIONS, PREFIX, variable
from scripts.launch.loopback import session
from scripts.launch.nginx_config import DRAIN_SECONDS
from scripts.launch.ports import free_neighbour
from tests.photos import encoded, photo

CONTAINERFILE = ROOT / "deploy" / "container" / "Containerfile"
COMPOSE = ROOT / "deploy" / "container" / "compose.yaml"
READY_SECONDS = 120.0
STOP_SECONDS = 160

# More than a batch, 8, and fewer than the gateway's limit for one address, 16.
REQUESTS = 15

# What the service reads of its checkout before TorchServe starts.
READS = """
from pathlib import Path
import scripts.service
from scripts.launch.contract import gateway_contract
from scripts.launch.nginx_config import ClientLimits, nginx_config
gateway_contract()
nginx_config("0.0.0.0:8443", 8080, b"", Path("/tmp"), ClientLimits())
for name in ("config.properties", "metrics.yaml", "log4j2.xml"):
    Path(name).read_text()
"""


def copied() -> list[str]:
    """What the Containerfile copies out of the checkout, but for the archive, which make names."""
    lines = re.findall(r"^COPY (.+) \S+$", CONTAINERFILE.read_text("utf-8"), re.MULTILINE)
    return [source for line in lines for source in line.split() if not source.startswith("$")]


def test_dockerignore_leaves_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines
    left = {line[1:] for line in lines if line.startswith("!")}
    assert left == {*copied(), "build/*.mar"}


@pytest.mark.slow
def test_what_is_copied_is_what_the_service_reads(tmp_path: Path) -> None:
    for source in copied():
        target = tmp_path / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    subprocess.run([sys.executable, "-c", READS], cwd=tmp_path, check=True, timeout=120)


def test_variables_are_settings() -> None:
    known = {variable(option) for option in OPTIONS}
    compose = yaml.safe_load(COMPOSE.read_text("utf-8"))
    (service,) = compose["services"].values()
    named = re.findall(rf"{PREFIX}\w+", CONTAINERFILE.read_text("utf-8"))
    assert {*named, *service["environment"]} <= known


def test_compose_leaves_a_drain_its_time_and_the_container_no_rights() -> None:
    (service,) = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"].values()
    assert int(service["stop_grace_period"].removesuffix("s")) >= DRAIN_SECONDS + 20
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


@dataclass(frozen=True)
class Container:
    name: str
    port: int
    token: str

    def get(self, path: str) -> requests.Response:
        with session() as http:
            return http.get(f"https://127.0.0.1:{self.port}{path}", verify=False, timeout=60)

    def post(self, photo: bytes) -> requests.Response:
        with session() as http:
            return http.post(
                f"https://127.0.0.1:{self.port}/predictions/segmenter",
                data=photo,
                headers={"Authorization": f"Bearer {self.token}"},
                verify=False,
                timeout=STOP_SECONDS,
            )


def podman(*arguments: str) -> str:
    done = subprocess.run(
        ["podman", *arguments], capture_output=True, text=True, timeout=STOP_SECONDS, check=True
    )
    return done.stdout


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    image = os.environ.get("TEST_IMAGE")
    if image is None:
        pytest.skip("no image is given: TEST_IMAGE=segmenter, after `make image`")
    if shutil.which("podman") is None:
        pytest.skip("podman is missing: apt-get install podman")
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32), "ascii")
    token.chmod(0o644)
    port = free_neighbour(18080)
    running = Container(f"segmenter-{uuid.uuid4()}", port + 3, token.read_text("ascii"))
    podman(
        *("run", "--detach", "--name", running.name, "--network", "host", "--read-only"),
        *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
        *("--env", f"SEGMENTER_PORT={port}", "--env", f"SEGMENTER_GATEWAY_PORT={running.port}"),
        *("--env", "SEGMENTER_TOKEN_FILE=/run/token", "--volume", f"{token}:/run/token:ro"),
        image,
    )
    try:
        yield running
    finally:
        podman("rm", "--force", "--time", "0", running.name)


@pytest.mark.service
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_an_image_serves_and_loses_no_request_when_it_is_stopped(container: Container) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if container.get("/ready").status_code == requests.codes.ok:
                break
        except requests.ConnectionError:
            pass  # nginx does not listen yet
        assert time.monotonic() < deadline, podman("logs", container.name)
        time.sleep(0.2)
    jpeg = encoded(photo(720, 960), "JPEG")
    before = container.post(jpeg)
    assert before.status_code == requests.codes.ok
    with ThreadPoolExecutor(REQUESTS) as pool:
        running = [pool.submit(container.post, jpeg) for _ in range(REQUESTS)]
        wait(running, return_when=FIRST_COMPLETED)
        assert not all(request.done() for request in running)
        podman("stop", "--time", str(STOP_SECONDS), container.name)
        responses = [request.result() for request in running]
    assert [response.status_code for response in responses] == [200] * REQUESTS
    assert {response.content for response in responses} == {before.content}
    (state,) = json.loads(podman("inspect", container.name))
    assert state["State"]["ExitCode"] == 128 + 15  # SIGTERM, not SIGKILL

"""Clients that run apart from the tests: the kserve SDK, MLServer's codecs, fetch and axios."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.launch.gateway import Gateway
from tests.photos import encoded, photo
from tests.service.clients.packages import HERE, node_packages, python_packages
from tests.service.conftest import RunningModel

pytestmark = pytest.mark.slow

PHOTO = encoded(photo(75, 113), "PNG")
TIMEOUT = 120  # seconds: a bound against hanging


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    return path


def run(command: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The JSON that a client prints in its last line."""
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    kept = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    done = subprocess.run(
        command,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_python(client: str, packages: Path, front: Gateway, file: Path) -> dict[str, Any]:
    command = [sys.executable, str(HERE / client), front.url, front.token]
    return run([*command, str(front.certificate), str(file)], {"PYTHONPATH": str(packages)})


def run_node(program: Path, front: Gateway, file: Path) -> dict[str, Any]:
    if shutil.which("node") is None:
        pytest.skip("node is missing: apt-get install nodejs")
    command = ["node", str(program), front.url, front.token, str(file)]
    return run(command, {"NODE_EXTRA_CA_CERTS": str(front.certificate)})


def mask_in(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_kserve(front: Gateway, model: RunningModel, file: Path) -> None:
    found = run_python("kserve_client.py", python_packages("kserve"), front, file)
    expected = model.mask_in_process(PHOTO)
    for state in ("live", "ready", "model ready, v1", "model ready, v2"):
        assert found[state] is True
    assert np.array_equal(mask_in(found["v1"]), expected)
    for is_binary in (False, True):
        assert np.array_equal(found[f"v2, {is_binary}"], expected)
    assert found["error"].startswith("invalid_base64: ")


def test_mlserver(front: Gateway, model: RunningModel, file: Path) -> None:
    found = run_python("mlserver_codecs.py", python_packages("mlserver"), front, file)
    assert len(found) == 3
    for mask in found.values():
        assert np.array_equal(mask, model.mask_in_process(PHOTO))


def test_fetch(front: Gateway, model: RunningModel, file: Path) -> None:
    found = run_node(HERE / "fetch.mjs", front, file)
    assert len(found) == 6
    for mask in found.values():
        assert np.array_equal(mask_in(mask), model.mask_in_process(PHOTO))


def test_axios(front: Gateway, model: RunningModel, file: Path) -> None:
    found = run_node(node_packages() / "axios.mjs", front, file)
    assert "Did you mean threshold?" in found.pop("refused")
    assert len(found) == 5
    for mask in found.values():
        assert np.array_equal(mask_in(mask), model.mask_in_process(PHOTO))

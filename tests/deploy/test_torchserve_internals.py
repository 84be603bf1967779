"""What we rely on of TorchServe beyond its documentation: an upgrade that changes it fails here.

Each test names the code that would break.
"""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import pytest
import requests

from scripts.launch.instance import Instance, LaunchError
from scripts.launch.lifecycle import start
from scripts.launch.loopback import session
from scripts.launch.nginx_config import TEMPLATE
from scripts.launch.ports import free_ports
from scripts.launch.readiness import WORKER_DIED, WORKER_LINE, WRAPPED_EXCEPTION
from scripts.launch.torchserve import temp_of
from scripts.stress.process_monitor import WORKER
from tests.deploy.conftest import Stub
from tests.deploy.kills import worker_of
from tests.deploy.stub import VERSION
from tests.scripts.launch.echo import ECHO, archive_of

pytestmark = pytest.mark.service

TIMEOUT = 60  # seconds: a bound against hanging


def post(stub: Stub, body: bytes, path: str = "", **headers: str) -> requests.Response:
    url = stub.instance.predictions + path
    return session().post(url, data=body, headers=headers, timeout=TIMEOUT)


# --- deploy/gateway/nginx.conf ------------------------------------------------------------------


def test_the_response_for_a_dead_worker_is_known_by_its_length(stub: Stub) -> None:
    response = post(stub, b"die internals")
    assert response.status_code == 500
    assert response.json()["message"] == "Worker died."
    assert response.headers["Content-Length"] == "84"
    assert '"~500  84 " "";' in TEMPLATE.read_text("utf-8")
    assert post(stub, b"hello").status_code == 200  # it waited for the next worker


@pytest.mark.parametrize("form", ["boundary=", "boundary=x"])
def test_the_response_to_a_broken_form_is_a_500_of_another_length(stub: Stub, form: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name=""\r\n\r\nhello\r\n--x--\r\n'
    response = post(stub, body, **{"Content-Type": f"multipart/form-data; {form}"})
    assert response.status_code == 500
    assert response.headers["Content-Length"] != "84"
    assert "Model-Digest" not in response.headers


def test_the_segment_after_the_model_is_its_version_and_the_rest_a_header(stub: Stub) -> None:
    assert post(stub, b"hello", "/overlay").status_code == 404
    for path, suffix in ((f"/{VERSION}", ""), (f"/{VERSION}/overlay", "overlay")):
        assert post(stub, b"hello", path).json()["headers"]["url_path"] == suffix


def test_a_query_does_not_reach_the_handler(stub: Stub) -> None:
    received = post(stub, b"hello", "?output=json").json()
    assert received["parts"] == {}
    assert "output" not in received["headers"]


# --- scripts/launch/readiness.py ----------------------------------------------------------------


def test_the_management_api_says_which_workers_are_ready(stub: Stub) -> None:
    worker_of(stub.instance)
    url = f"{stub.instance.management}/models/segmenter"
    (model,) = session().get(url, timeout=TIMEOUT).json()
    assert model["modelVersion"] == VERSION
    assert all(worker["status"] == "READY" for worker in model["workers"])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import absent_module\n", "ModuleNotFoundError: No module named 'absent_module'"),
        (ECHO.replace("pass", "raise RuntimeError('no weights')"), "RuntimeError: no weights"),
    ],
)
def test_the_logs_say_that_a_worker_died_and_why(tmp_path: Path, code: str, reason: str) -> None:
    ports = free_ports()
    instance = Instance(tmp_path / "service", ports, group=0)
    with pytest.raises(LaunchError, match=f"the worker died: {reason}"):
        start(archive_of(tmp_path, code), instance.folder, ports)
    assert re.search(rf"{WORKER_DIED} \d+ in \d+ seconds", instance.log("ts_log"))
    lines = [line.split(WORKER_LINE)[1] for line in instance.log("model_log").splitlines()]
    assert reason in lines
    behind = lines[lines.index(reason) + 1 :]
    assert any(re.match(WRAPPED_EXCEPTION, line) for line in behind)  # for the same fault


# --- scripts/launch/torchserve.py, scripts/stress/process_monitor.py ----------------------------


def test_java_writes_its_process_id_into_the_temporary_folder(stub: Stub) -> None:
    temp = temp_of(stub.instance.folder)
    java = psutil.Process(int((temp / ".model_server.pid").read_text()))
    assert f"-Djava.io.tmpdir={temp}" in java.cmdline()
    worker = psutil.Process(worker_of(stub.instance))
    assert worker.parent() == java
    assert any(WORKER in word for word in worker.cmdline())
    assert list(temp.glob(".ts.sock.*"))

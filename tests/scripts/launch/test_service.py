"""A real TorchServe, started, stopped, broken and interrupted; its archives hold a few lines."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.archive.build import PRESET_FILE
from scripts.common.terminal import ROOT
from scripts.launch.loopback import session
from scripts.launch.ports import HOST, PortError, Ports, check_free, free_ports
from scripts.launch.readiness import last_exception
from scripts.launch.service import model_in, running_service, start, stop
from scripts.launch.torchserve import ServiceError, folder_for
from tests.scripts.launch.running import is_free, processes_of

TIMEOUT = 60  # seconds: a bound against hanging

ECHO = """
class Echo:
    def initialize(self, context):
        pass

    def handle(self, rows, context):
        return [bytes(row["body"]) for row in rows]
"""


def archive_of(folder: Path, code: str) -> Path:
    """An archive whose handler is `code`, with the project's own settings for the model."""
    path = folder / "echo.mar"
    model = {"modelName": "echo", "modelVersion": "1.0", "handler": "handler.py"}
    manifest = {
        "createdOn": "01/01/1980 00:00:00",
        "runtime": "python",
        "model": {**model, "configFile": "model-config.yaml"},
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("handler.py", code)
        archive.write(ROOT / "model-config.yaml", "model-config.yaml")
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return path


def test_a_start_names_the_model(
    tmp_path: Path, echo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model_in(echo) == str(echo)
    with zipfile.ZipFile(echo, "a") as archive:
        archive.writestr(PRESET_FILE, "name: street-resnet18\n")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:NoSuchOption")  # it need not come up
    ports = free_ports()
    with pytest.raises(ServiceError):
        start(echo, tmp_path / "service", ports)
    assert f"starting street-resnet18 on port {ports.inference};" in capsys.readouterr().err


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    return archive_of(tmp_path, ECHO)


def test_two_at_once_answer_as_configured_and_leave_nothing(echo: Path, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-deeper-than-a-socket's-path-may-be"] * 3)
    with running_service(echo, tmp_path / "one") as one, running_service(echo, deep) as two:
        for service in (one, two):
            answer = session().post(service.predictions, data=b"hello", timeout=TIMEOUT)
            assert answer.content == b"hello"
            assert any(str(service.folder) in " ".join(c) for c in processes_of(service.folder))

        model = session().get(f"{one.management}/models/segmenter", timeout=TIMEOUT).json()[0]
        assert (model["batchSize"], model["maxBatchDelay"], len(model["workers"])) == (8, 2, 1)

        register = session().post(f"{one.management}/models?url=echo.mar", timeout=TIMEOUT)
        assert register.status_code == 405  # enable_model_api=false

        assert "ts_inference_requests_total" in session().get(one.metrics, timeout=TIMEOUT).text
        assert "/predictions/segmenter" in one.log("access_log")

        with pytest.raises(ServiceError, match=r"runs in .* already: wait"):
            start(echo, one.folder, one.ports)

        temporary = (deep / "tmp").resolve()
        assert temporary.is_dir()
    for folder in (one.folder, two.folder):
        assert processes_of(folder) == []
        assert not (folder / "tmp").exists()
    assert not temporary.exists()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import absent_module\n", "ModuleNotFoundError: No module named 'absent_module'"),
        (ECHO.replace("pass", "raise RuntimeError('no weights')"), "RuntimeError: no weights"),
        (ECHO.replace("pass", "import os; os._exit(1)"), "without a word"),
    ],
    ids=["import", "initialize", "exit"],
)
def test_a_worker_that_dies_is_reported_at_once(tmp_path: Path, code: str, reason: str) -> None:
    folder = tmp_path / "service"
    with pytest.raises(ServiceError) as caught:
        start(archive_of(tmp_path, code), folder, free_ports())
    assert reason in str(caught.value)
    assert "model_log.log" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Retry worker: 9000 in 2 seconds" not in (folder / "logs" / "ts_log.log").read_text()
    assert processes_of(folder) == []


def test_a_torchserve_that_ends_is_reported(
    echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:NoSuchOption")
    with pytest.raises(ServiceError, match=r"TorchServe ended: .*console\.log"):
        start(echo, tmp_path / "service", free_ports())


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (None, "does not exist; `make archive` builds it"),
        (b"PK\x03\x04 and then nothing", "is damaged; remove it and build it again"),
    ],
)
def test_an_archive_that_is_none(tmp_path: Path, content: bytes | None, state: str) -> None:
    archive = tmp_path / "segmenter.mar"
    if content is not None:
        archive.write_bytes(content)
    with pytest.raises(ServiceError, match=state):
        start(archive, tmp_path / "service", free_ports())


def test_a_port_in_use_is_named_with_one_that_is_free(port: int) -> None:
    with socket.socket() as other:
        other.bind((HOST, port + 1))
        other.listen()
        with pytest.raises(PortError, match=rf"port {port + 1} is in use; .* PORT=\d+") as caught:
            check_free(Ports(port, port + 1, port + 2, port, port))
    assert is_free(int(str(caught.value).rpartition("=")[2]))


def test_what_is_no_port() -> None:
    with pytest.raises(PortError, match="port 65536 is no port"):
        check_free(Ports(65535, 65536, 65537, 65538, 65539))


def test_stopping_what_does_not_run(tmp_path: Path) -> None:
    assert stop(tmp_path / "nothing") is False


@pytest.mark.parametrize(
    ("command", "moment", "status"),
    [("run", "Ctrl-C stops it", 0), ("run", "starting", 130), ("start", "starting", 130)],
)
def test_ctrl_c_leaves_no_process(
    echo: Path, port: int, command: str, moment: str, status: int
) -> None:
    program = service_program(command, echo, port)
    assert program.stderr is not None
    printed = ""
    for line in program.stderr:
        printed += line
        if moment in line:
            break
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does
    rest = program.communicate(timeout=TIMEOUT)[1]
    assert program.returncode == status, printed + rest
    assert "Traceback" not in rest
    assert processes_of(folder_for(port)) == []


def test_started_in_the_background_it_stays_until_it_is_stopped(echo: Path, port: int) -> None:
    started = service_program("start", echo, port)
    assert "ready after" in started.communicate(timeout=TIMEOUT)[1]
    assert started.returncode == 0
    url = f"http://{HOST}:{port}/predictions/segmenter"
    assert session().post(url, data=b"still here", timeout=TIMEOUT).content == b"still here"

    second = service_program("start", echo, port).communicate(timeout=TIMEOUT)[1]
    assert f"a service runs on port {port} already: `make stop PORT={port}` ends it" in second

    stopped = service_program("stop", echo, port)
    assert "stopped" in stopped.communicate(timeout=TIMEOUT)[1]
    assert processes_of(folder_for(port)) == []
    assert is_free(port)

    again = service_program("stop", echo, port)
    assert f"nothing runs on port {port}" in again.communicate(timeout=TIMEOUT)[1]
    assert again.returncode == 0


def service_program(command: str, archive: Path, port: int) -> subprocess.Popen[str]:
    words = ["-m", "scripts.service", command, "--archive", str(archive), "--port", str(port)]
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_the_exception_in_a_log_is_the_workers_own() -> None:
    log = "\n".join(
        f"2026-01-02T03:04:05,678 [INFO ] W-9000-segmenter_1.0-stdout MODEL_LOG - {line}"
        for line in (
            "Listening on port: /tmp/.ts.sock.9000",
            "Traceback (most recent call last):",
            '  File "loading.py", line 3, in load',
            "OSError: unreadable",
            "",
            "The above exception was the direct cause of the following exception:",
            "",
            "Traceback (most recent call last):",
            '  File "handler.py", line 7, in initialize',
            "serving.runtime.loading.ArchiveError: weights.pth is damaged",
            "Backend worker process died.",
            "Traceback (most recent call last):",
            '  File "model_service_worker.py", line 301, in <module>',
            "RuntimeError: 500 - Unknown exception",
        )
    )
    assert last_exception(log) == "serving.runtime.loading.ArchiveError: weights.pth is damaged"
    assert last_exception("") is None

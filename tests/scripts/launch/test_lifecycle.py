"""A real TorchServe, started, stopped, broken and interrupted; its archives hold a few lines."""

from __future__ import annotations

import os
import signal
import zipfile
from pathlib import Path

import pytest

from scripts.archive.build import PRESET_FILE
from scripts.launch.instance import LaunchError, folder_for
from scripts.launch.lifecycle import running_instance, start, stop
from scripts.launch.loopback import session
from scripts.launch.ports import HOST, free_ports
from tests.scripts.launch.echo import ECHO, archive_of
from tests.scripts.launch.running import is_free, processes_of, service_program

pytestmark = pytest.mark.service

TIMEOUT = 60  # seconds: a bound against hanging


def test_a_start_names_the_model(
    tmp_path: Path, echo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(echo, "a") as archive:
        archive.writestr(PRESET_FILE, "name: street-resnet18\n")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:NoSuchOption")  # it need not come up
    ports = free_ports()
    with pytest.raises(LaunchError):
        start(echo, tmp_path / "service", ports)
    assert f"starting street-resnet18 on port {ports.inference};" in capsys.readouterr().err


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    return archive_of(tmp_path, ECHO)


def test_two_instances_serve_as_configured_and_leave_nothing(echo: Path, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-deeper-than-a-socket's-path-may-be"] * 3)
    with running_instance(echo, tmp_path / "one") as one, running_instance(echo, deep) as two:
        for instance in (one, two):
            response = session().post(instance.predictions, data=b"hello", timeout=TIMEOUT)
            assert response.content == b"hello"
            assert any(str(instance.folder) in " ".join(c) for c in processes_of(instance.folder))

        model = session().get(f"{one.management}/models/segmenter", timeout=TIMEOUT).json()[0]
        assert (model["batchSize"], model["maxBatchDelay"], len(model["workers"])) == (8, 2, 1)

        register = session().post(f"{one.management}/models?url=echo.mar", timeout=TIMEOUT)
        assert register.status_code == 405  # enable_model_api=false

        assert "ts_inference_requests_total" in session().get(one.metrics, timeout=TIMEOUT).text
        assert "/predictions/segmenter" in one.log("access_log")

        with pytest.raises(LaunchError, match=r"runs in .* already: wait"):
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
        (ECHO.replace("pass", "import os; os._exit(1)"), "without a message"),
    ],
    ids=["import", "initialize", "exit"],
)
def test_a_worker_that_dies_is_reported_at_once(tmp_path: Path, code: str, reason: str) -> None:
    folder = tmp_path / "service"
    with pytest.raises(LaunchError) as caught:
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
    with pytest.raises(LaunchError, match=r"TorchServe ended: .*console\.log"):
        start(echo, tmp_path / "service", free_ports())


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (None, "does not exist; `make archive` builds it"),
        (b"PK\x03\x04 and then nothing", "is damaged; remove it and build it again"),
    ],
)
def test_a_missing_or_damaged_archive_is_refused(
    tmp_path: Path, content: bytes | None, state: str
) -> None:
    archive = tmp_path / "segmenter.mar"
    if content is not None:
        archive.write_bytes(content)
    with pytest.raises(LaunchError, match=state):
        start(archive, tmp_path / "service", free_ports())


def test_stopping_what_does_not_run(tmp_path: Path) -> None:
    assert stop(tmp_path / "nothing") is False


@pytest.mark.parametrize(
    ("command", "moment", "status"),
    [("run", "Ctrl-C stops it", 0), ("run", "starting", 130), ("start", "starting", 130)],
)
def test_ctrl_c_leaves_no_process(
    echo: Path, port: int, command: str, moment: str, status: int
) -> None:
    program = service_program(command, port, "--archive", str(echo))
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
    started = service_program("start", port, "--archive", str(echo))
    assert "ready after" in started.communicate(timeout=TIMEOUT)[1]
    assert started.returncode == 0
    url = f"http://{HOST}:{port}/predictions/segmenter"
    assert session().post(url, data=b"still here", timeout=TIMEOUT).content == b"still here"

    second = service_program("start", port, "--archive", str(echo)).communicate(timeout=TIMEOUT)[1]
    assert f"a service runs on port {port} already: `make stop PORT={port}` ends it" in second

    stopped = service_program("stop", port)
    assert "stopped" in stopped.communicate(timeout=TIMEOUT)[1]
    assert processes_of(folder_for(port)) == []
    assert is_free(port)

    again = service_program("stop", port)
    assert f"nothing runs on port {port}" in again.communicate(timeout=TIMEOUT)[1]
    assert again.returncode == 0

"""`make deploy` on an instance that runs: a real TorchServe, with archives of a few lines."""

from __future__ import annotations

import signal
from pathlib import Path

from scripts.launch.instance import folder_for
from scripts.launch.loopback import session
from scripts.launch.ports import HOST
from tests.scripts.launch.echo import ECHO, archive_of, saying
from tests.scripts.launch.running import processes_of, service_program

TIMEOUT = 120  # seconds: a bound against hanging


def printed(command: str, port: int, *options: str) -> tuple[str, int]:
    """What `scripts.service` prints, and its exit status."""
    program = service_program(command, port, *options)
    return program.communicate(timeout=TIMEOUT)[1], program.returncode


def prediction(port: int) -> str:
    url = f"http://{HOST}:{port}/predictions/segmenter"
    return session().post(url, data=b"hello", timeout=TIMEOUT).text


def test_an_instance_keeps_what_it_serves_until_another_archive_is_deployed(
    tmp_path: Path, port: int
) -> None:
    archive = archive_of(tmp_path, saying("first"))
    assert printed("start", port, "--archive", str(archive))[1] == 0
    assert prediction(port) == "first"

    archive_of(tmp_path, saying("second"))  # built, not deployed
    printed("stop", port)
    assert printed("start", port)[1] == 0
    assert prediction(port) == "first"

    text, status = printed("deploy", port, "--archive", str(archive))
    assert (status, prediction(port)) == (0, "second"), text

    archive_of(tmp_path, ECHO.replace("pass", "raise RuntimeError('no weights')"))
    text, status = printed("deploy", port, "--archive", str(archive))
    assert (status, prediction(port)) == (1, "second"), text
    assert "going back to" in text
    assert "error: the worker died: RuntimeError: no weights" in text

    printed("stop", port)
    assert printed("start", port)[1] == 0
    assert prediction(port) == "second"


def test_an_instance_of_a_supervisor_is_not_restarted(tmp_path: Path, port: int) -> None:
    archive = archive_of(tmp_path, saying("first"))
    with service_program("run", port, "--archive", str(archive)) as program:
        assert program.stderr is not None
        assert any("Ctrl-C stops it" in line for line in program.stderr)
        archive_of(tmp_path, saying("second"))
        text, status = printed("deploy", port, "--archive", str(archive))
        assert status == 0
        assert "from its next start" in text
        assert prediction(port) == "first"
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=TIMEOUT)
    assert processes_of(folder_for(port)) == []
    with service_program("run", port) as program:
        assert program.stderr is not None
        assert any("Ctrl-C stops it" in line for line in program.stderr)
        assert prediction(port) == "second"
        program.send_signal(signal.SIGTERM)
        program.communicate(timeout=TIMEOUT)
    assert processes_of(folder_for(port)) == []

"""The unit: systemd reads it without a word, and it gives a drain the time that it takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.common.terminal import ROOT
from scripts.launch.arguments import parsed
from scripts.launch.environment import OPTIONS, PREFIX, variable
from scripts.launch.nginx_config import DRAIN_SECONDS

UNIT = ROOT / "deploy" / "systemd" / "segmenter@.service"
SECONDS = 60

# Of 10, as systemd-analyze rates what a unit may do: it calls up to 2.2 "OK", from 5 on "exposed".
EXPOSURE = 2.5


def settings() -> list[tuple[str, str]]:
    lines = re.findall(r"^(\w+)=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    return [(name, value) for name, value in lines]


def value_of(name: str) -> str:
    (value,) = [value for key, value in settings() if key == name]
    return value


def analyze(folder: Path, text: str, *command: str) -> subprocess.CompletedProcess[str]:
    """systemd-analyze on an instance of the unit whose program exists on this machine."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    unit = folder / "segmenter@8080.service"
    unit.write_text(text.replace("/opt/segmenter/.venv/bin/python", sys.executable), "utf-8")
    return subprocess.run(
        [program, *command, str(unit)], capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    done = analyze(tmp_path, UNIT.read_text("utf-8"), "verify")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [
        ("KillMode=mixed", "KillMode=mixt", "kill mode"),
        ("NoNewPrivileges=", "NoNewPriviliges=", "NoNewPriviliges"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, good: str, bad: str, named: str) -> None:
    text = UNIT.read_text("utf-8")
    assert good in text
    assert named in analyze(tmp_path, text.replace(good, bad), "verify").stderr


def test_it_may_do_little(tmp_path: Path) -> None:
    done = analyze(tmp_path, UNIT.read_text("utf-8"), "security", "--offline=true")
    (exposure,) = re.findall(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(exposure) <= EXPOSURE


def test_a_drain_has_the_time_that_it_takes() -> None:
    assert value_of("KillMode") == "mixed"  # else nginx and TorchServe would get the signal, too
    assert int(value_of("TimeoutStopSec")) >= DRAIN_SECONDS + 20


def test_its_variables_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = [
        entry for name, value in settings() if name == "Environment" for entry in value.split()
    ]
    ours = dict(entry.split("=", 1) for entry in variables if entry.startswith(PREFIX))
    assert ours.keys() <= {variable(option) for option in OPTIONS}
    for name, value in ours.items():
        monkeypatch.setenv(name, value.replace("%i", "8080"))
    _, arguments = value_of("ExecStart").split("scripts.service ")
    options = parsed(arguments.split())
    assert (options.command, options.gateway, options.port) == ("run", True, 8080)

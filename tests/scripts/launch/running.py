"""What tests need of instances that they start: free ports, the program, and what is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from scripts.common.terminal import ROOT
from scripts.launch.ports import PortError, Ports, check_free


def is_free(port: int) -> bool:
    try:
        check_free(Ports(port, port + 1, port + 2, port, port))
    except PortError:
        return False
    return True


def processes_of(folder: Path) -> list[list[str]]:
    """Command lines of all processes that name the folder."""
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if any(str(folder) in word for word in command)]


def service_program(command: str, port: int, *options: str) -> subprocess.Popen[str]:
    """`python -m scripts.service`, in a process group of its own; what it prints is in stderr."""
    words = ["-m", "scripts.service", command, "--port", str(port), *options]
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

"""What tests ask of services that they start: a place for one, and what is left of it."""

from __future__ import annotations

from pathlib import Path

import psutil

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

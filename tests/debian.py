"""Programs from Debian that tests run: nginx, Chromium, promtool."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

INSTALL_TIMEOUT = 300  # s; Chromium and its dependencies are a download of 100 MB


def program(name: str, package: str) -> Path:
    """The path of a program, installed from its Debian package if it is missing.

    Skips the test if that is impossible: not Debian, not root, or no package server in reach.
    """
    found = shutil.which(name)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", package]):
            subprocess.run(
                ["apt-get", "--quiet", *command],
                env=environment,
                stdout=subprocess.DEVNULL,
                timeout=INSTALL_TIMEOUT,
                check=False,
            )
        found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install {package}")
    return Path(found)

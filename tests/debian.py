"""Programs from Debian that tests drive for real: nginx, Chromium, promtool."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

INSTALL_TIMEOUT = 300  # s; Chromium with what it needs is 100 MB to fetch


def program(name: str, package: str) -> Path:
    """The path of a program, installed from its Debian package where it is missing.

    Skips the test where that cannot be done: no Debian, not root, or no packages within reach.
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

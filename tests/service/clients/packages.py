"""Clients that do not fit into .venv, each in a folder of its own that is made once."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.common.terminal import ROOT

HERE = Path(__file__).parent
INSTALL_SECONDS = 600  # a bound against hanging


def python_packages(name: str) -> Path:
    """A folder for PYTHONPATH with the packages that clients/<name>.txt lists, and no others.

    Skips the test where the package registry cannot be reached.
    """
    requirements = HERE / f"{name}.txt"
    folder = _folder(name, requirements)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"]
    return _installed(folder, [*command, "--target", ".", "-r", str(requirements)])


def node_packages() -> Path:
    """A folder with the node_modules that clients/package.json names, and the clients beside it."""
    if shutil.which("npm") is None:
        pytest.skip("npm is missing: apt-get install npm")
    folder = _folder("node", HERE / "package.json")
    installed = _installed(folder, ["npm", "install", "--no-audit", "--no-fund"])
    for client in HERE.glob("*.mjs"):
        shutil.copy(client, installed)
    return installed


def _folder(name: str, listed: Path) -> Path:
    digest = hashlib.sha256(listed.read_bytes()).hexdigest()[:12]
    return ROOT / "build" / "test-clients" / f"{name}-{digest}"


def _installed(folder: Path, command: list[str]) -> Path:
    """`folder`, in which the command has installed its packages, whole or not at all."""
    if folder.exists():
        return folder
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shutil.copy(HERE / "package.json", partial)
    try:
        subprocess.run(
            command, cwd=partial, check=True, capture_output=True, timeout=INSTALL_SECONDS
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"the package registry: {str(error.stderr)[-200:]}")
    partial.rename(folder)
    return folder

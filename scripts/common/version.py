"""The project's version, which pyproject.toml alone defines."""

from __future__ import annotations

import re

from scripts.common.terminal import ROOT


def project_version() -> str:
    """`[project] version` of pyproject.toml; archives get it unless they are built with another."""
    # By pattern: the project is not installed, and Python 3.10 has no parser for TOML.
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    found = re.search(r'^\[project\]\n(?:[^\[].*\n)*?version = "([^"]+)"', text, re.MULTILINE)
    assert found is not None
    return found[1]

"""The project's version, which pyproject.toml alone defines."""

from __future__ import annotations

import re

from scripts.common.terminal import ROOT

# By pattern: the project is not installed, and Python 3.10 has no parser for TOML.
VERSION = re.compile(r'^\[project\]\n(?:[^\[].*\n)*?version = "([^"]+)"', re.MULTILINE)


def project_version() -> str:
    """The version of this checkout; archives get it unless they are built with another one."""
    return version_in((ROOT / "pyproject.toml").read_text("utf-8"))


def version_in(pyproject: str) -> str:
    """The version in the section [project] of such a file."""
    found = VERSION.search(pyproject)
    assert found is not None
    return found[1]

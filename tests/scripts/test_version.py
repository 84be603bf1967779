"""One version, in pyproject.toml, for the project, its archives and its client."""

from __future__ import annotations

from packaging.version import Version

from scripts.common.terminal import ROOT
from scripts.common.version import project_version, version_in


def test_the_version_is_that_of_the_project_section() -> None:
    section = '[project]\nname = "p"\nversion = "2.1" # why\n'
    assert version_in(f'[tool.x]\nversion = "1.0"\n\n{section}\n[tool.z]\n') == "2.1"


def test_the_client_has_the_projects_version() -> None:
    client = version_in((ROOT / "client" / "pyproject.toml").read_text("utf-8"))
    assert Version(client) == Version(project_version())

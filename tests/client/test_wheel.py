"""The client as others install it: its wheel, alone, on the Pythons that this machine has."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from scripts.common.terminal import ROOT
from tests.client.cli.journal_server import Journal, files_in, journal_server, write_files

PACKAGE = ROOT / "client" / "segmenter_client"

MAX_BYTES = 100_000

# Those that the client supports, and this machine may have.
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves files beside its source."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT / "client",
        folder / "client",
        ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"),
    )
    pip(Path(sys.executable), "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir",
        str(folder), str(folder / "client"))  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_what_is_in_the_wheel(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < MAX_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        fields = Parser().parsestr(archive.read(metadata).decode())
    sources = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.py")}
    assert names == {*sources, "segmenter_client/py.typed"}
    required = [text for text in fields.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert [text.partition(">=")[0] for text in required] == ["numpy", "pillow", "tqdm", "urllib3"]
    assert fields.get_all("Provides-Extra") == ["async", "remote", "exporters"]


def test_its_syntax_is_that_of_python_3_9() -> None:
    for path in PACKAGE.rglob("*.py"):
        ast.parse(path.read_text("utf-8"), str(path), feature_version=(3, 9))


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_a_clean_environment_segments_a_folder(tmp_path: Path, wheel: Path, version: str) -> None:
    """Nothing but the client's own dependencies is in it, which pip gets from the registry."""
    interpreter = python_of(version)
    if interpreter is None:
        pytest.skip(f"no Python {version} on this machine")
    subprocess.run([interpreter, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    pip(python, "install", str(wheel))
    installed = pip(python, "list", "--format", "freeze")
    assert "torch" not in installed
    write_files(tmp_path / "photos", 3)
    with journal_server(Journal()) as journal:
        segmenter = str(tmp_path / "venv/bin/segmenter")
        at = ["--url", journal.url]
        run = [segmenter, "photos", "--as", "mask,overlay", "--summary", "classes.csv", *at]
        for command in (run, [segmenter, "check", *at]):
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        assert len(journal.times) == 3
    assert len(files_in(tmp_path / "segmented")) == 6
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 4


def python_of(version: str) -> Path | None:
    """An interpreter of that version, on the path or among pyenv's, whose shims may not run."""
    pyenv = Path.home() / ".pyenv" / "versions"
    candidates: list[str | Path] = [f"python{version}", *pyenv.glob(f"{version}.*/bin/python")]
    for candidate in candidates:
        found = shutil.which(candidate)
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return Path(found)
    return None


def pip(python: Path, *arguments: str) -> str:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

"""The demo: a photo in, two pictures on disk, and nothing left running."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from scripts.archive.build import build_archive
from scripts.demo import main
from scripts.launch.instance import folder_for
from tests.archives import unpacked_archive
from tests.photos import encoded, photo
from tests.scripts.launch.running import processes_of


@pytest.fixture
def arguments(tmp_path: Path, port: int) -> list[str]:
    archive = tmp_path / "segmenter.mar"
    build_archive(unpacked_archive(tmp_path) / "preset.yaml", archive, version="2.0")
    output = tmp_path / "output"
    return ["--archive", str(archive), "--port", str(port), "--output", str(output)]


def test_a_photo(
    arguments: list[str], port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my photo.jpg"
    path.write_bytes(encoded(photo(75, 113), "JPEG"))

    assert main([str(path), *arguments]) == 0

    with Image.open(tmp_path / "output" / "my photo-mask.png") as mask:
        assert (mask.mode, mask.size) == ("P", (113, 75))
    with Image.open(tmp_path / "output" / "my photo-overlay.jpg") as overlay:
        assert overlay.size == (113, 75)
    printed = capsys.readouterr().out
    assert "113 x 75, by tiny\n" in printed
    assert "%  " in printed
    assert f"make start PORT={port}" in printed
    assert f"curl -T '{path}' http://127.0.0.1:{port}/predictions/segmenter" in printed
    assert processes_of(folder_for(port)) == []


def test_a_text_is_refused_with_the_services_own_message(
    arguments: list[str], port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("just a text\n")
    assert main([str(path), *arguments]) == 1
    assert "error: unsupported_format: The format" in capsys.readouterr().err
    assert processes_of(folder_for(port)) == []


def test_a_missing_photo(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["absent.jpg", *arguments]) == 1
    assert capsys.readouterr().err == "error: cannot read absent.jpg: No such file or directory\n"


def test_without_a_photo_it_draws_one(arguments: list[str], tmp_path: Path) -> None:
    assert main(arguments) == 0
    with Image.open(tmp_path / "output" / "street-mask.png") as mask:
        assert mask.size == (640, 480)

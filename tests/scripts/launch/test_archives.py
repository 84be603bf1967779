"""An instance keeps its archive, whatever is built later and whatever happens to the copy."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from model.digest import sha256_of
from scripts.archive.build import PRESET_FILE
from scripts.launch.archives import check_unchanged, copy_into, keep, kept_archive, model_name_in
from scripts.launch.deployment import archive_to_start, deploy
from scripts.launch.instance import LaunchError
from tests.scripts.launch.echo import ECHO, archive_of, saying

PORT = 8080


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An instance's."""
    return tmp_path / "service"


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    return archive_of(tmp_path, ECHO)


def test_a_model_is_named_by_its_preset_or_by_the_file(echo: Path) -> None:
    assert model_name_in(echo) == "echo"
    with zipfile.ZipFile(echo, "a") as archive:
        archive.writestr(PRESET_FILE, "name: street-resnet18\n")
    assert model_name_in(echo) == "street-resnet18"


def test_a_kept_archive_is_named_by_model_and_digest_and_outlives_the_next_build(
    echo: Path, folder: Path
) -> None:
    assert kept_archive(folder) is None
    digest = sha256_of(echo)
    keep(copy_into(folder, echo))
    archive_of(echo.parent, saying("something else"))  # built again, under the same name
    kept = archive_to_start(None, folder, PORT)
    assert kept == folder / f"echo-{digest[:12]}.mar"
    assert sha256_of(kept) == digest


def test_an_archive_that_is_named_is_kept_only_after_its_start(echo: Path, folder: Path) -> None:
    keep(copy_into(folder, echo))
    other = archive_of(echo.parent, saying("other"), "other")
    copy = archive_to_start(other, folder, PORT)
    assert sha256_of(copy) == sha256_of(other)
    assert kept_archive(folder) != copy
    keep(copy)
    assert kept_archive(folder) == copy
    assert sorted(folder.glob("*.mar")) == sorted([folder / "archive.mar", copy])


def test_an_instance_without_an_archive_says_what_gives_it_one(folder: Path) -> None:
    with pytest.raises(LaunchError, match=r"port 8080 yet: name one with --archive; `make start`"):
        archive_to_start(None, folder, PORT)


def test_a_kept_archive_that_has_changed_is_not_served(echo: Path, folder: Path) -> None:
    kept = copy_into(folder, echo)
    keep(kept)
    check_unchanged(kept)
    kept.write_bytes(archive_of(echo.parent, saying("other"), "other").read_bytes())
    with pytest.raises(LaunchError, match="another digest than its name says; `make deploy`"):
        archive_to_start(None, folder, PORT)
    deploy(echo, folder, PORT)
    assert archive_to_start(None, folder, PORT) == kept


@pytest.mark.parametrize("content", [None, b"PK\x03\x04 and then nothing"])
def test_nothing_is_kept_of_a_damaged_archive(folder: Path, content: bytes | None) -> None:
    archive = folder.parent / "segmenter.mar"
    if content is not None:
        archive.write_bytes(content)
    with pytest.raises(LaunchError, match=r"segmenter\.mar (does not exist|is damaged)"):
        deploy(archive, folder, PORT)
    assert kept_archive(folder) is None


def test_a_stopped_instance_serves_what_is_deployed_from_its_next_start(
    echo: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(echo, folder, PORT)
    kept = archive_to_start(None, folder, PORT)
    assert sha256_of(kept) == sha256_of(echo)
    assert f"port 8080 serves {kept} from its next start\n" in capsys.readouterr().err

"""Which files are segmented, under which names, and what is wrong with the arguments."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath

import pytest

from segmenter_client.cli.outputs import wire_name
from segmenter_client.cli.program import main
from serving.errors import RequestError
from serving.request.file_names import document_names
from tests.client.cli.journal_server import (
    MAX_BYTES,
    Journal,
    files_in,
    journal_server,
    write_files,
)


def test_names_of_any_bytes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [b"a b.jpg", "\u00e9\u732b.jpg".encode(), b"\xff\xfe.jpg"]
    (here / "in").mkdir()
    for name in names:
        (here / "in" / os.fsdecode(name)).write_bytes(name)
    listing = here / "list"
    listing.write_bytes(b"".join(b"in/" + name + b"\n" for name in names))
    with journal_server(Journal(lambda n: (200 if n < 3 else 500, {}))) as journal:
        arguments = ["--list", "list", "--url", journal.url]
        assert main(arguments) == 0
        (here / "segmented/in" / os.fsdecode(names[2] + b".mask.png")).unlink()
        assert main(arguments) == 1
    assert len(files_in(here / "segmented")) == 2
    assert "failed: in/\\xff\\xfe.jpg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "is_sent"),
    [
        *(("a.jpg", True), ("street/b c.jpg", True), ("x" * 255, True)),
        *(("x" * 256, False), ("a\n.jpg", False), ("a\\b.jpg", False)),
        *(("../a.jpg", False), ("street/../a.jpg", False), ("/a.jpg", False)),
    ],
)
def test_a_name_that_the_service_refuses_is_not_sent(path: str, is_sent: bool) -> None:
    assert wire_name(PurePosixPath(path)) == (path if is_sent else None)
    with contextlib.nullcontext() if is_sent else pytest.raises(RequestError):
        assert document_names([{"name": path}], 1) == [path]


def test_same_names_and_a_glob(here: Path) -> None:
    write_files(here / "x", 2)
    write_files(here / "y", 2)
    (here / "x/000.png").write_bytes(b"other")
    with journal_server(Journal()) as journal:
        assert main(["x", "[xy]/000.jpg", "--url", journal.url]) == 0
    assert files_in(here / "segmented") == [
        *("x/000.jpg.mask.png", "x/000.png.mask.png", "x/001.jpg.mask.png"),
        "y/000.jpg.mask.png",
    ]


def test_images_elsewhere_keep_their_path_from_the_folder(
    here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file named alone, from the root: nothing says which folder is meant."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (alone,) = write_files(elsewhere / "photos/deep", 1)
    with journal_server(Journal()) as journal:
        at = ["--url", journal.url]
        assert main([f"{elsewhere}/photos", "--recursive", "--output", "a", *at]) == 0
        assert main([f"{elsewhere}/photos/*/*.jpg", "--output", "b", *at]) == 0
        assert main([str(alone), "--output", "c", *at]) == 0
        assert journal.names == {"photos/deep/000.jpg", str(alone)[1:]}
    assert files_in(here / "a") == files_in(here / "b") == ["photos/deep/000.jpg.mask.png"]
    assert files_in(here / "c") == [f"{str(alone)[1:]}.mask.png"]


def test_a_file_and_its_folder_are_one_image(here: Path) -> None:
    write_files(here / "in", 1)
    with journal_server(Journal()) as journal:
        assert main(["in", "./in/000.jpg", "in/../in/*.jpg", "--url", journal.url]) == 0
        assert len(journal.times) == 1


def test_names_are_sent_encoded_or_not_at_all(here: Path) -> None:
    long = "x" * 250
    (here / "Straße").mkdir()
    (here / "Straße/a b.jpg").write_bytes(b"1")
    (here / f"{long}.jpg").write_bytes(b"22")
    (here / os.fsdecode(b"\xff.jpg")).write_bytes(b"333")
    with journal_server(Journal()) as journal:
        assert main([".", "Straße", "--url", journal.url]) == 1  # the results' names are too long
        assert journal.names == {"Stra%C3%9Fe/a%20b.jpg", f"{long}.jpg", None}


def test_results_are_not_taken_for_images(here: Path) -> None:
    """Also where they lie beside the images, or in the folder of an earlier run."""
    write_files(here, 2)
    words = [".", "--recursive", "--output"]
    with journal_server(Journal()) as journal:
        for folder in (".", ".", "segmented", "other"):
            assert main([*words, folder, "--url", journal.url]) == 0
    masks = ["000.jpg.mask.png", "001.jpg.mask.png"]
    assert files_in(here / "other") == files_in(here / "segmented") == masks
    assert len(files_in(here)) == 2 + 3 * 2


def test_files_that_cannot_be_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good,) = write_files(here / "in", 1)
    (here / "in/loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(here / "in/pipe.jpg")
    (here / "in/huge.jpg").touch()
    os.truncate(here / "in/huge.jpg", MAX_BYTES + 1)
    with journal_server(Journal()) as journal:
        assert main(["in", "nowhere.jpg", "--url", journal.url]) == 1
    assert list(journal.bodies) == [good.read_bytes()]
    printed = capsys.readouterr().err
    assert "failed: nowhere.jpg: No such file or directory" in printed
    assert "failed: in/pipe.jpg: not a file" in printed
    assert "in/loop.jpg" in printed
    assert "in/huge.jpg: 1048577 bytes; the service reads at most 1048576" in printed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["empty"], "no images found"),
        (["*.jpg"], "nothing matches"),
        ([], "name images"),
        (["a.jpg", "--as", "mask,masks"], "no output format 'masks'"),
        (["a.jpg", "--url", "localhost"], "is not a URL"),
        (["a.jpg", "--concurrency", "0"], "not a whole number of 1 or more"),
        (["-", "--as", "mask,json"], "one output"),
        (["a.jpg", "--cacert", "nowhere"], "no such certificate"),
        (["--list", "nowhere"], "cannot read nowhere"),
        (["a.jpg", "--token", "secret\n"], "printable"),
    ],
)
def test_invalid_arguments(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    (here / "empty").mkdir()
    try:
        status: object = main(arguments)
    except SystemExit as error:  # argparse
        status = error.code
    assert status == 2
    assert expected in capsys.readouterr().err
    assert not (here / "segmented").exists()


def test_pictures_are_not_written_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["-", "--as", "overlay"]) == 2
    assert "redirect it" in capsys.readouterr().err

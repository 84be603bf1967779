"""`segmenter check` and `segmenter models`."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.launch.ports import free_ports
from segmenter_client.cli.program import main
from tests.client.cli.journal_server import Journal, files_in, journal_server


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    with journal_server(Journal()) as journal:
        assert main(["check", "--url", journal.url]) == 0
    printed = capsys.readouterr().out
    assert f"{journal.url}: ready" in printed
    assert "journal 3.1, int8, sha256:5555" in printed
    assert "class 0, class 1" in printed
    assert "JPEG; at most 1,048,576 bytes, 1,000 pixels, 100 px a side" in printed
    assert "writes:  mask" in printed


def test_check_where_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_ports().inference}/predictions/segmenter"
    assert main(["check", "--url", url]) == 1
    assert capsys.readouterr().err == f"error: cannot reach {url}: Connection refused\n"


def test_models_at_several_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"http://127.0.0.1:{free_ports().inference}/predictions/segmenter"
    with journal_server(Journal()) as journal:
        assert main(["models", journal.url, nobody, f"{journal.url}/2.0"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"journal 3.1  sha256:555555555555  5 classes  {journal.url}",
        f"journal 3.1  sha256:555555555555  5 classes  {journal.url}/2.0",
    ]
    assert printed.err.startswith(f"failed: {nobody}: cannot reach")


def test_an_image_that_is_named_like_a_command(here: Path) -> None:
    (here / "check").write_bytes(b"an image")
    with journal_server(Journal()) as journal:
        assert main(["./check", "--url", journal.url]) == 0
    assert files_in(here / "segmented") == ["check.mask.png"]

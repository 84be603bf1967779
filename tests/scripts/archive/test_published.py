"""A preset's own weights: downloaded once, and compared with their SHA-256."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from model.preset import WeightsSource
from scripts.archive.checkpoint import CheckpointError
from scripts.archive.published import published_weights


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback that serves `tmp_path`."""
    handler = partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_published_weights_are_downloaded_once(
    tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "own.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    source = WeightsSource(None, f"{site}/own.pth", digest[:8])

    path = published_weights(source)
    assert path == tmp_path / "home" / "hub" / "checkpoints" / "own.pth"
    assert path.read_bytes() == b"weights"

    (tmp_path / "own.pth").unlink()
    assert published_weights(source) == path  # from the cache: the server no longer has it


def test_a_download_of_another_file_is_refused(
    tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "own.pth").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="its SHA-256 begins with"):
        published_weights(WeightsSource(None, f"{site}/own.pth", "0" * 64))
    assert not list((tmp_path / "home").rglob("*.p*"))


def test_offline_says_which_file_goes_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    source = WeightsSource(None, "http://127.0.0.1:9/own.pth", "0" * 64)  # nothing listens there
    with pytest.raises(CheckpointError) as caught:
        published_weights(source)
    message = str(caught.value)
    assert "\n" not in message
    assert source.url is not None
    assert source.url in message
    assert str(tmp_path / "home" / "hub" / "checkpoints" / "own.pth") in message


def test_a_flipped_byte_in_a_presets_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert published_weights(WeightsSource(str(path), None, digest)) == path
    path.write_bytes(b"weighty")
    with pytest.raises(CheckpointError, match="damaged or another file"):
        published_weights(WeightsSource(str(path), None, digest))

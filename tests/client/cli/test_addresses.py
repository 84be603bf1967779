"""Images at addresses: over HTTP, and in file systems of fsspec (here the one in memory)."""

from __future__ import annotations

import contextlib
import http.server
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from segmenter_client.cli.program import main
from segmenter_client.cli.remote import TRIES
from tests.client.cli.journal_server import MAX_BYTES, Journal, files_in, journal_server

Site = dict[str, list[tuple[int, bytes]]]  # path -> its responses in turn; the last stays


@contextlib.contextmanager
def site_of(responses: Site) -> Iterator[str]:
    """A web server: status and body; a redirect to its body; a body that breaks off if status 0."""
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                waiting = responses[self.path]
                status, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            self.send_response(status or 200)
            if status == 302:
                self.send_header("Location", body.decode())
            missing = 10 if status == 0 else 0
            self.send_header("Content-Length", str(len(body) + missing))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.cli.remote.FIRST_PAUSE", 0.01)


@pytest.fixture
def memory() -> Iterator[Callable[[str, bytes], None]]:
    """Writes a file into fsspec's file system in memory."""
    system = fsspec.filesystem("memory")
    yield system.pipe_file
    system.rm("/", recursive=True)


def test_addresses_keep_their_paths(here: Path) -> None:
    responses: Site = {
        "/a/b.jpg": [(200, b"b")],
        "/a/b.jpg?size=2": [(200, b"b2")],
        "/moved.jpg": [(302, b"/a/b.jpg")],
    }
    with site_of(responses) as site, journal_server(Journal()) as journal:
        names = [f"{site}{path}" for path in responses]
        assert main([*names, "--url", journal.url]) == 0
        assert sorted(journal.bodies) == [b"b", b"b2"]
        assert main([*names, "--url", journal.url]) == 0
        assert sum(journal.bodies.values()) == 3  # the second run has nothing to do
    host = site.removeprefix("http://").replace(":", "_")
    assert files_in(here / "segmented") == [
        f"{host}/a/b.jpg.mask.png",
        f"{host}/a/b.jpg_size=2.mask.png",
        f"{host}/moved.jpg.mask.png",
    ]


def test_long_queries_are_shortened_and_told_apart(here: Path) -> None:
    responses: Site = {f"/a.jpg?signature={'0' * 900}{end}": [(200, b"a")] for end in "ab"}
    with site_of(responses) as site, journal_server(Journal()) as journal:
        assert main([f"{site}{path}" for path in responses] + ["--url", journal.url]) == 0
    names = [path.rpartition("/")[2] for path in files_in(here / "segmented")]
    assert len(names) == 2
    assert all(name.startswith("a.jpg_signature=000") and len(name) < 200 for name in names)


def test_no_address_leads_out_of_the_folder(here: Path) -> None:
    responses: Site = {"/../../x.jpg": [(200, b"x")], "/..%2f..%2fy.jpg": [(200, b"y")]}
    with site_of(responses) as site, journal_server(Journal()) as journal:
        main([f"{site}{path}" for path in responses] + ["--url", journal.url])
    assert not list(here.glob("*.png"))
    assert not list(here.parent.glob("*.png"))


def test_what_may_succeed_is_tried_again(here: Path) -> None:
    responses: Site = {
        "/busy.jpg": [(503, b""), (429, b""), (200, b"busy")],
        "/torn.jpg": [(0, b"to"), (200, b"torn")],
    }
    with site_of(responses) as site, journal_server(Journal()) as journal:
        assert main([f"{site}{path}" for path in responses] + ["--url", journal.url]) == 0
        assert sorted(journal.bodies) == [b"busy", b"torn"]


def test_all_tries_have_one_deadline(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segmenter_client.cli.remote.TOTAL_SECONDS", 0.0)
    responses: Site = {"/busy.jpg": [(503, b""), (200, b"busy")]}
    with site_of(responses) as site, journal_server(Journal()) as journal:
        assert main([f"{site}/busy.jpg", "--url", journal.url]) == 1
    assert "HTTP status 503, and 0 s are over" in capsys.readouterr().err
    assert responses["/busy.jpg"] == [(200, b"busy")]  # which nobody asked for


def test_failures_name_their_address(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    responses: Site = {
        "/gone.jpg": [(404, b"")],
        "/down.jpg": [(500, b"")],
        "/huge.jpg": [(200, bytes(MAX_BYTES + 1))],
        "/good.jpg": [(200, b"good")],
    }
    with site_of(responses) as site, journal_server(Journal()) as journal:
        assert main([f"{site}{path}" for path in responses] + ["--url", journal.url]) == 1
        assert list(journal.bodies) == [b"good"]
    printed = capsys.readouterr().err
    assert f"failed: {site}/gone.jpg: HTTP status 404" in printed
    assert f"failed: {site}/down.jpg: HTTP status 500, {TRIES} times" in printed
    assert f"failed: {site}/huge.jpg: over {MAX_BYTES} bytes" in printed


def test_files_folders_and_globs_of_fsspec(
    here: Path, memory: Callable[[str, bytes], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "b.png", "deep/c.jpg", "notes.txt", "a.jpg.mask.png"):
        memory(f"/bucket/{name}", name.encode())
    with journal_server(Journal()) as journal:
        at = ["--url", journal.url]
        assert main(["memory://bucket/deep/c.jpg", "--output", "file", *at]) == 0
        assert main(["memory://bucket/", "--output", "folder", *at]) == 0
        assert main(["memory://bucket/", "--recursive", "--output", "all", *at]) == 0
        assert main(["memory://bucket/*.png", "--output", "glob", *at]) == 0
        assert main(["memory://bucket/none/", "--output", "none", *at]) == 2
        assert main(["memory://bucket/no.jpg", "--output", "missing", *at]) == 1
    deep = "bucket/deep/c.jpg.mask.png"
    both = ["bucket/a.jpg.mask.png", "bucket/b.png.mask.png"]
    assert files_in(here / "file") == [deep]
    assert files_in(here / "folder") == both
    assert files_in(here / "all") == [*both, deep]
    assert files_in(here / "glob") == ["bucket/b.png.mask.png"]
    printed = capsys.readouterr().err
    assert "no images found at memory://bucket/none/" in printed
    assert "failed: memory://bucket/no.jpg: " in printed


@pytest.mark.parametrize(
    ("address", "expected"),
    [("s3://bucket/a.jpg", "segmenter-client[remote]"), ("nope://a/b.jpg", "nope")],
)
def test_what_cannot_be_reached_is_said_before_the_run(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
    expected: str,
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where the extra is not installed
    assert main([address]) == 2
    assert expected in capsys.readouterr().err

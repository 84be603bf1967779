"""client/segmenter_client/cli.py and a server that misbehaves and keeps a journal."""

from __future__ import annotations

import base64
import contextlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.common.terminal import ROOT
from scripts.launch.ports import free_ports
from segmenter_client import cli as segment
from segmenter_client.half_blocks import half_blocks
from tests.photos import encoded

TIMEOUT = 60  # seconds: a bound against hanging

Reply = tuple[int, dict[str, str]]  # status and headers
CUT = {"Content-Length": "100000", "Connection": "close"}  # of an answer that breaks off


@dataclass
class Journal:
    """What a server was asked. `reply` says how it answers its n-th request, from 0 on."""

    reply: Callable[[int], Reply] = lambda n: (200, {})
    pause: float = 0.0  # seconds that a request takes
    url: str = ""
    bodies: Counter[bytes] = field(default_factory=Counter)  # answered with a mask
    times: list[float] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    now: int = 0
    most: int = 0  # requests at a time
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def answered(self) -> int:
        with self.lock:
            return sum(self.bodies.values())


@contextlib.contextmanager
def server(journal: Journal) -> Iterator[Journal]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with journal.lock:
                number = len(journal.times)
                journal.times.append(time.monotonic())
                journal.tokens.add(self.headers["Authorization"])
                journal.now += 1
                journal.most = max(journal.most, journal.now)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(journal.pause)  # the work, not a way to wait for something
            status, headers = journal.reply(number)
            content = kserve(body) if status == 200 else b'{"error":{"code":"c","message":"m"}}'
            with journal.lock:
                journal.now -= 1
            if status == 0:
                self.close_connection = True  # without an answer
                return
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
                self.wfile.flush()
            if status == 200 and headers != CUT:
                with journal.lock:
                    journal.bodies[body] += 1

        def log_message(self, *_: object) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    journal.url = f"http://127.0.0.1:{listener.server_port}/predictions/segmenter"
    try:
        yield journal
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def kserve(body: bytes) -> bytes:
    """A mask of one pixel, whose class is the length of the body."""
    mask = Image.fromarray(np.full((1, 1), len(body) % 5, np.uint8))
    png = base64.b64encode(encoded(mask, "PNG")).decode()
    classes = [{"id": len(body) % 5, "label": f"class {len(body) % 5}"}]
    return json.dumps({"predictions": [{"mask": {"b64": png}, "classes": classes}]}).encode()


def files(folder: Path, number: int) -> list[Path]:
    """Files whose content is their own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        path.write_bytes(b"%d " % index * (index + 1))
    return paths


def outputs(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(segment.TOKEN, raising=False)
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.service.FIRST_PAUSE", 0.01)


@pytest.mark.parametrize("status", [429, 503, 0])
def test_a_busy_service_is_asked_again(here: Path, quick: None, status: int) -> None:
    files(here / "in", 4)
    with server(Journal(lambda n: (status if n < 8 else 200, {}))) as journal:
        assert segment.main(["in", "--url", journal.url]) == 0
    assert journal.answered == 4
    assert len(journal.times) == 12


def test_an_answer_that_breaks_off_is_asked_for_again(here: Path, quick: None) -> None:
    files(here / "in", 4)
    with server(Journal(lambda n: (200, CUT if n < 8 else {}))) as journal:
        assert segment.main(["in", "--url", journal.url]) == 0
    assert journal.answered == 4
    assert len(journal.times) == 12


def test_an_image_whose_answers_all_break_off_fails_alone(
    here: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    files(here / "in", 5)
    with server(Journal(lambda n: (200, CUT if n in (2, 3) else {}))) as journal:
        options = ["--retries", "1", "--concurrency", "1"]
        assert segment.main(["in", "--url", journal.url, *options]) == 1
    assert journal.answered == 4
    printed = capsys.readouterr().err
    assert "failed: in/002.jpg" in printed
    assert "broke off" in printed


def test_nobody_there_stops_the_run(
    here: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    files(here / "in", 50)
    url = f"http://127.0.0.1:{free_ports().inference}/predictions/segmenter"
    assert segment.main(["in", "--url", url, "--retries", "2"]) == 1
    printed = capsys.readouterr().err
    assert "refused" in printed
    assert "not finished" in printed


def test_retry_after_is_waited_for(here: Path, quick: None) -> None:
    files(here / "in", 1)
    with server(Journal(lambda n: (503 if n == 0 else 200, {"Retry-After": "1"}))) as journal:
        assert segment.main(["in", "--url", journal.url]) == 0
    assert journal.times[1] - journal.times[0] >= 1


def test_other_failures_are_not_tried_again(
    here: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    files(here / "in", 3)
    with server(Journal(lambda n: (500 if n == 1 else 200, {}))) as journal:
        assert segment.main(["in", "--url", journal.url, "--concurrency", "1"]) == 1
    assert len(journal.times) == 3
    assert "failed: in/001.jpg: c: m" in capsys.readouterr().err
    assert outputs(here / "segmented") == ["in/000.jpg.mask.png", "in/002.jpg.mask.png"]


def test_a_wrong_token_stops_the_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files(here / "in", 50)
    with server(Journal(lambda n: (401, {}))) as journal:
        assert segment.main(["in", "--url", journal.url, "--concurrency", "2"]) == 1
    assert len(journal.times) < 10
    assert "not finished" in capsys.readouterr().err


@pytest.mark.parametrize("status", [429, 502, 503, 0])
def test_a_service_that_stays_busy_stops_the_run(
    here: Path, quick: None, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    files(here / "in", 50)
    with server(Journal(lambda n: (status, {}))) as journal:
        options = ["--retries", "1", "--concurrency", "2"]
        assert segment.main(["in", "--url", journal.url, *options]) == 1
    assert len(journal.times) == pytest.approx(2 * segment.TURNED_AWAY, abs=4)
    assert "not finished" in capsys.readouterr().err


def test_one_image_for_which_there_is_never_room_does_not(here: Path, quick: None) -> None:
    files(here / "in", 5)
    with server(Journal(lambda n: (503 if n in (2, 3) else 200, {}))) as journal:
        options = ["--retries", "1", "--concurrency", "1"]
        assert segment.main(["in", "--url", journal.url, *options]) == 1
    assert journal.answered == 4


def test_the_token_of_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(here / "in", 1)
    monkeypatch.setenv(segment.TOKEN, "secret")
    with server(Journal()) as journal:
        assert segment.main(["in", "--url", journal.url]) == 0
    assert journal.tokens == {"Bearer secret"}


def test_requests_at_a_time_are_bounded(here: Path) -> None:
    files(here / "in", 60)
    with server(Journal(pause=0.02)) as journal:
        assert segment.main(["in", "--url", journal.url, "--concurrency", "5"]) == 0
    assert journal.most == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_killed_and_resumed(here: Path, number: signal.Signals) -> None:
    """Every image is answered once, those under way at the kill at most twice."""
    window = 4
    paths = files(here / "in", 80)
    with server(Journal(pause=0.05)) as journal:
        arguments = ["in", "--url", journal.url, "--concurrency", str(window)]
        process = start(*arguments)
        wait_until(lambda: journal.answered >= 20)
        process.send_signal(number)
        assert process.wait(TIMEOUT) == (130 if number == signal.SIGINT else -signal.SIGKILL)
        done = [name for name in outputs(here / "segmented") if not name.endswith(".part")]
        assert 0 < len(done) < len(paths)
        for name in done:
            opened(here / "segmented" / name).load()
        wait_until(lambda: journal.now == 0)
        assert segment.main(arguments) == 0
    assert outputs(here / "segmented") == [f"in/{path.name}.mask.png" for path in paths]
    assert set(journal.bodies) == {path.read_bytes() for path in paths}
    assert sum(journal.bodies.values()) <= len(paths) + window
    for path in paths:
        mask = np.array(opened(here / f"segmented/in/{path.name}.mask.png"))
        assert mask.item() == len(path.read_bytes()) % 5


def test_names_of_any_bytes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [b"a b.jpg", "\u00e9\u732b.jpg".encode(), b"\xff\xfe.jpg"]
    (here / "in").mkdir()
    for name in names:
        (here / "in" / os.fsdecode(name)).write_bytes(name)
    listing = here / "list"
    listing.write_bytes(b"".join(b"in/" + name + b"\n" for name in names))
    with server(Journal(lambda n: (200 if n < 3 else 500, {}))) as journal:
        arguments = ["--list", "list", "--url", journal.url]
        assert segment.main(arguments) == 0
        (here / "segmented/in" / os.fsdecode(names[2] + b".mask.png")).unlink()
        assert segment.main(arguments) == 1
    assert len(outputs(here / "segmented")) == 2
    assert "failed: in/\\xff\\xfe.jpg" in capsys.readouterr().err


def test_same_names_and_a_glob(here: Path) -> None:
    files(here / "x", 2)
    files(here / "y", 2)
    (here / "x/000.png").write_bytes(b"other")
    with server(Journal()) as journal:
        assert segment.main(["x", "[xy]/000.jpg", "--url", journal.url]) == 0
    assert outputs(here / "segmented") == [
        *("x/000.jpg.mask.png", "x/000.png.mask.png", "x/001.jpg.mask.png"),
        "y/000.jpg.mask.png",
    ]


def test_results_are_no_images(here: Path) -> None:
    """Also where they lie beside the images, or in a folder of an earlier run."""
    files(here, 2)
    words = [".", "--recursive", "--output"]
    with server(Journal()) as journal:
        for folder in (".", ".", "segmented", "other"):
            assert segment.main([*words, folder, "--url", journal.url]) == 0
    masks = ["000.jpg.mask.png", "001.jpg.mask.png"]
    assert outputs(here / "other") == outputs(here / "segmented") == masks
    assert len(outputs(here)) == 2 + 3 * 2


def test_files_that_cannot_be_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good,) = files(here / "in", 1)
    (here / "in/loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(here / "in/pipe.jpg")
    (here / "in/huge.jpg").touch()
    os.truncate(here / "in/huge.jpg", segment.MAX_BYTES + 1)
    with server(Journal()) as journal:
        assert segment.main(["in", "nowhere.jpg", "--url", journal.url]) == 1
    assert list(journal.bodies) == [good.read_bytes()]
    printed = capsys.readouterr().err
    assert "failed: nowhere.jpg: No such file or directory" in printed
    assert "failed: in/pipe.jpg: not a file" in printed
    assert "in/loop.jpg" in printed
    assert "in/huge.jpg: 50331649 bytes" in printed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["empty"], "no images there"),
        (["*.jpg"], "nothing matches"),
        ([], "name images"),
        (["a.jpg", "--as", "mask,masks"], "no output 'masks'"),
        (["a.jpg", "--url", "localhost"], "is not like"),
        (["a.jpg", "--concurrency", "0"], "not a number from 1"),
        (["-", "--as", "mask,json"], "one output"),
        (["a.jpg", "--cacert", "nowhere"], "no certificate"),
        (["--list", "nowhere"], "cannot read nowhere"),
    ],
)
def test_asked_wrongly(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    (here / "empty").mkdir()
    try:
        status = segment.main(arguments)
    except SystemExit as error:  # argparse
        status = error.code  # type: ignore[assignment]
    assert status == 2
    assert expected in capsys.readouterr().err
    assert not (here / "segmented").exists()


def test_no_two_outputs_have_the_same_file() -> None:
    ends = list(segment.SUFFIXES.values())
    assert len(set(ends)) == len(ends)


def test_a_second_run_into_a_folder_is_kept_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files(here / "in", 1)
    with segment.alone_in(here / "segmented"):
        assert segment.main(["in"]) == 2
    assert "another run is writing to" in capsys.readouterr().err


def test_a_picture_of_half_blocks() -> None:
    picture = Image.new("RGB", (2, 2), (255, 0, 0))
    picture.putpixel((0, 1), (0, 0, 255))
    assert half_blocks(picture, 80, 24) == (
        "\x1b[38;2;255;0;0;48;2;0;0;255m\u2580\x1b[38;2;255;0;0;48;2;255;0;0m\u2580\x1b[0m"
    )
    lines = half_blocks(Image.new("RGB", (400, 300)), 40, 10).split("\n")
    assert len(lines) == 10
    assert lines[0].count("\u2580") == 27


@pytest.mark.parametrize("plain", [False, True])
def test_one_file_is_shown_where_it_may_be(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    plain: bool,
) -> None:
    files(here / "in", 1)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1" if plain else "")
    with server(Journal()) as journal:
        assert segment.main(["in/000.jpg", "--url", journal.url]) == 0
    assert ("\u2580" in capsys.readouterr().out) is not plain


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.segment", *arguments],
        stdin=subprocess.PIPE if "-" in arguments else subprocess.DEVNULL,
        stdout=subprocess.PIPE if "-" in arguments else subprocess.DEVNULL,
        stderr=subprocess.PIPE if "-" in arguments else subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))

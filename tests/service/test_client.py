"""The client against a real TorchServe, and its own readers against references."""

from __future__ import annotations

import contextlib
import http.server
import io
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import requests
from PIL import Image
from pycocotools import mask as coco

from scripts.launch.ports import free_ports
from segmenter_client import (
    AnswerError,
    NoAnswer,
    Refused,
    Service,
    ServiceFailed,
    Unreachable,
    segment,
)
from segmenter_client.errors import answered_error
from segmenter_client.rle import paint
from segmenter_client.segmentation import image_bytes
from segmenter_client.service import with_version
from tests.photos import encoded, photo
from tests.service.conftest import RunningModel

PHOTO = encoded(photo(75, 113), "PNG")


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "PIL", "array"])
def test_every_kind_of_image(model: RunningModel, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    picture = Image.open(io.BytesIO(PHOTO))
    images = {
        "path": path,
        "str": str(path),
        "bytes": PHOTO,
        "PIL": picture,
        "array": np.asarray(picture),
    }
    found = segment(images[kind], url=model.url)
    assert (found.mask.dtype, found.mask.shape) == (np.uint8, (75, 113))
    np.testing.assert_array_equal(found.mask, served_mask(model.url, PHOTO))


def test_the_classes_are_those_of_the_mask(model: RunningModel) -> None:
    found = segment(PHOTO, url=model.url)
    assert len(found.classes) > 1
    assert [entry.pixels for entry in found.classes] == sorted(
        np.bincount(found.mask.ravel())[[entry.id for entry in found.classes]], reverse=True
    )
    assert sum(entry.pixels for entry in found.classes) == found.mask.size
    for entry in found.classes:
        assert entry.label == model.preset.labels[entry.id]
        assert entry.colour == model.preset.palette[entry.id]
        assert entry.fraction == pytest.approx(entry.pixels / found.mask.size)
    assert found.model["digest"] == model.digest


def test_overlay_and_confidence(model: RunningModel) -> None:
    found = segment(PHOTO, url=model.url)
    assert (found.overlay().mode, found.overlay().size) == ("RGB", (113, 75))
    confidence = found.confidence()
    assert (confidence.dtype, confidence.shape) == (np.uint8, (75, 113))
    entry = found.classes[0]
    mean = confidence[found.mask == entry.id].mean() / 255
    assert mean == pytest.approx(entry.confidence, abs=0.02)


def test_chosen_classes_and_void(model: RunningModel) -> None:
    whole = segment(PHOTO, url=model.url)
    chosen = whole.classes[1]
    for name in (chosen.label, chosen.id):
        found = segment(PHOTO, url=model.url, classes=[name])
        void = next(entry.id for entry in found.classes if entry.id != chosen.id)
        expected = np.where(whole.mask == chosen.id, chosen.id, void)
        np.testing.assert_array_equal(found.mask, expected)
        assert sum(entry.pixels for entry in found.classes) == found.mask.size


def test_a_threshold_makes_the_unsure_void(model: RunningModel) -> None:
    level = int(np.median(np.unique(segment(PHOTO, url=model.url).confidence())))
    with Service(model.url) as service:
        found = segment(PHOTO, service=service, threshold=level / 255)
        unsure = found.confidence() < level
        (void,) = np.unique(found.mask[unsure])
        assert void in {entry.id for entry in found.classes}
        assert 0 < unsure.mean() < 1
        whole = segment(PHOTO, service=service)
    np.testing.assert_array_equal(found.mask, np.where(unsure, void, whole.mask))


def test_overlays_are_of_the_chosen_classes(model: RunningModel) -> None:
    whole = segment(PHOTO, url=model.url)
    found = segment(PHOTO, url=model.url, classes=[whole.classes[1].id])
    assert found.overlay().tobytes() != whole.overlay().tobytes()


@pytest.mark.parametrize(
    ("classes", "expected"),
    [([], "at least one"), (["caf\u00e9"], "by their ids"), (["a\r\nb"], "by their ids")],
)
def test_classes_that_cannot_be_sent(classes: list[str], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        segment(PHOTO, url="http://127.0.0.1:1/", classes=classes)


def test_a_refusal_carries_the_services_code_and_figures(
    model: RunningModel,
) -> None:
    with pytest.raises(Refused) as caught:
        segment(b"a text", url=model.url)
    assert (caught.value.status, caught.value.code) == (415, "unsupported_format")
    assert caught.value.message in str(caught.value)


def test_nobody_there() -> None:
    url = f"http://127.0.0.1:{free_ports().inference}/predictions/segmenter"
    with pytest.raises(Unreachable, match="refused"):
        segment(PHOTO, service=Service(url, retries=1))


def test_an_address_that_swallows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog that is full: to more connections Linux says nothing."""
    monkeypatch.setattr("segmenter_client.service.CONNECT_SECONDS", 0.05)
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/predictions/segmenter"
        with (
            Service(url, retries=1, timeout=2) as service,
            pytest.raises(Unreachable, match="timed out") as caught,
        ):
            service.ask(PHOTO, "json")
    assert "connect timeout=0.05" in str(caught.value.__cause__)  # of 2 s, not one


OVERLOADED = b"HTTP/1.1 503 -\r\nContent-Length: 0\r\nRetry-After: soon\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmask"
HALF = WHOLE[:-2]
CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nma"
NOTHING = b""

# A pixel of no class.
DOCUMENT = b"""{"size": {"width": 1, "height": 1}, "model": {}, "void": 255, "classes": [
    {"id": 255, "label": "void", "colour": [0, 0, 0], "pixels": 1, "fraction": 1.0,
     "bbox": [0, 0, 1, 1], "confidence": 0.5, "rle": {"size": [1, 1], "counts": "01"}}]}"""


@pytest.mark.parametrize("broken", [NOTHING, HALF, CHUNK], ids=["nothing", "half", "chunk"])
def test_what_breaks_off_is_asked_for_again(quick: None, broken: bytes) -> None:
    with answering(broken, OVERLOADED, broken, WHOLE) as (url, asked), Service(url) as service:
        assert service.ask(PHOTO, "mask") == b"mask"
    assert asked == [PHOTO] * 4


@pytest.mark.parametrize("broken", [NOTHING, HALF, CHUNK], ids=["nothing", "half", "chunk"])
def test_breaking_off_and_turning_away_count_together(quick: None, broken: bytes) -> None:
    with (
        answering(broken, OVERLOADED, broken, WHOLE) as (url, asked),
        Service(url, retries=2) as service,
        pytest.raises(NoAnswer, match="broke off"),
    ):
        service.ask(PHOTO, "mask")
    assert asked == [PHOTO] * 3


def test_the_last_try_says_why(quick: None) -> None:
    with (
        answering(HALF, OVERLOADED) as (url, _),
        Service(url, retries=1) as service,
        pytest.raises(ServiceFailed),
    ):
        service.ask(PHOTO, "mask")


@pytest.mark.parametrize("begun", [NOTHING, HALF], ids=["nothing", "half"])
def test_silence_is_not_tried_again(quick: None, begun: bytes) -> None:
    with (
        answering(begun, silent=True) as (url, asked),
        Service(url, timeout=0.1) as service,
        pytest.raises(NoAnswer, match="not all of it"),
    ):
        service.ask(PHOTO, "mask")
    assert asked == [PHOTO]


def test_a_slow_upload_takes_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.service.CONNECT_SECONDS", 0.3)
    body = bytes(16 << 20)
    with answering(WHOLE, pause=0.02) as (url, asked), Service(url, retries=0) as service:
        assert service.ask(body, "mask") == b"mask"
    assert asked == [body]


def test_results_keep_no_connections() -> None:
    """Whoever asks by address has closed what was opened, though the server would keep it."""
    answers = [kept_open(DOCUMENT)] * 2 + [kept_open(encoded(photo(1, 1), "PNG"))] * 2
    with answering(*answers, silent=True) as (url, asked):
        results = [segment(PHOTO, url=url) for _ in range(2)]
        assert connections_to(url) == 0
        for found in results:
            found.overlay()
        assert connections_to(url) == 0
    assert asked == [PHOTO] * 4


def connections_to(url: str) -> int:
    """Of this process's, those that it has opened and not closed."""
    ends = [one.raddr for one in psutil.Process().net_connections("tcp")]
    return sum(bool(end) and end.port == urlsplit(url).port for end in ends)


def kept_open(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_pictures_of_other_modes_are_sent_as_rgb(mode: str) -> None:
    picture = Image.new("RGB", (4, 3), "teal") if mode != "LAB" else Image.new("LAB", (4, 3))
    sent = Image.open(io.BytesIO(image_bytes(picture if mode == "LAB" else picture.convert(mode))))
    assert (sent.format, sent.mode, sent.size) == ("PNG", "RGB", (4, 3))


def test_32_bits_are_sent_as_16() -> None:
    picture = Image.fromarray(np.array([[0, 300, 70_000]], np.int32))
    sent = Image.open(io.BytesIO(image_bytes(picture)))
    assert np.asarray(sent).tolist() == [[0, 300, 65_535]]


def test_what_is_no_image_is_not_sent() -> None:
    with pytest.raises(ValueError, match="mode F"):
        segment(Image.new("F", (4, 4)), url="http://127.0.0.1:1/")
    with pytest.raises(ValueError, match="float64"):
        segment(np.zeros((4, 4)), url="http://127.0.0.1:1/")
    with pytest.raises(FileNotFoundError):
        segment("nowhere.jpg", url="http://127.0.0.1:1/")


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_read_as_coco_reads_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 200, 2)
    inside = random.random((height, width)) < random.choice([0.0, 0.001, 0.3, 1.0])
    counts = coco.encode(np.asfortranarray(inside, np.uint8))["counts"].decode()
    mask = np.zeros((width, height), np.uint8).T
    paint(mask, counts, 3)
    np.testing.assert_array_equal(mask, 3 * inside)


def test_errors_of_others_on_the_way() -> None:
    torchserve = answered_error(503, b'{"code": 503, "type": "Busy", "message": "queue is full"}')
    assert isinstance(torchserve, ServiceFailed)
    assert (torchserve.code, torchserve.message) == ("Busy", "queue is full")
    proxy = answered_error(413, b"<html>")
    assert isinstance(proxy, Refused)
    assert proxy.code == "http_413"
    assert isinstance(answered_error(302, b""), AnswerError)


def test_the_version_in_the_address() -> None:
    assert with_version("http://h/predictions/m/") == "http://h/predictions/m/1.0"
    assert with_version("http://h/predictions/m/2.0") == "http://h/predictions/m/2.0"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.service.FIRST_PAUSE", 0.01)


@contextlib.contextmanager
def answering(
    *answers: bytes, silent: bool = False, pause: float = 0
) -> Iterator[tuple[str, list[bytes]]]:
    """A server's URL, and the bodies it was sent. It says those bytes in turn, and hangs up.

    Or, `silent`, it keeps the connections, and says no more. After each 256 kB that it reads it
    rests for `pause` seconds.
    """
    left, asked, over = deque(answers), list[bytes](), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length, body = int(self.headers["Content-Length"]), bytearray()
            while len(body) < length:
                body += self.rfile.read(min(1 << 18, length - len(body)))
                time.sleep(pause)  # the line's slowness, not a way to wait for something
            asked.append(bytes(body))
            self.wfile.write(left.popleft())
            if silent:
                over.wait()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        # Little is under way between a slow server and its clients.
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}/predictions/segmenter", asked
        finally:
            over.set()
            listener.shutdown()
            thread.join()


def served_mask(url: str, body: bytes) -> np.ndarray:
    with requests.Session() as http:
        http.trust_env = False
        return np.array(Image.open(io.BytesIO(http.post(url, data=body, timeout=60).content)))

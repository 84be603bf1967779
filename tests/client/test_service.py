"""segmenter_client.Service: what a request contains, and what is retried of one that fails."""

from __future__ import annotations

import io
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psutil
import pytest

from segmenter_client import (
    InvalidResponse,
    NoResponse,
    RequestRefused,
    ServerError,
    Service,
    segment,
)
from tests.client.misbehaving_server import ok, serving
from tests.photos import encoded, photo

PHOTO = encoded(photo(75, 113), "PNG")

OVERLOADED = b"HTTP/1.1 503 -\r\nContent-Length: 0\r\nRetry-After: soon\r\n\r\n"
WHOLE = ok(b"mask")
HALF = WHOLE[:-2]
CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nma"
NOTHING = b""

# A pixel of no class.
SUMMARY = b"""{"size": {"width": 1, "height": 1}, "model": {}, "void": 255, "classes": [
    {"id": 255, "label": "void", "colour": [0, 0, 0], "pixels": 1, "fraction": 1.0,
     "bbox": [0, 0, 1, 1], "confidence": 0.5, "rle": {"size": [1, 1], "counts": "01"}}]}"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.retries.FIRST_PAUSE", 0.01)


@pytest.mark.parametrize("suffix", ["", "/2.0"], ids=["no version", "version"])
def test_the_url_is_the_users_and_the_options_are_headers(suffix: str) -> None:
    with serving(WHOLE) as server, Service(f"{server.url}{suffix}/", token="secret") as service:
        assert service.predict(PHOTO, "overlay", classes=["car", 2], threshold=0.5) == b"mask"
    assert server.paths == [f"/predictions/segmenter{suffix}"]
    (headers,) = server.headers
    assert headers["X-Segmenter-Output"] == "overlay"
    assert headers["X-Segmenter-Classes"] == "car,2"
    assert headers["X-Segmenter-Threshold"] == "0.5"
    assert headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("broken", [NOTHING, HALF, CHUNK], ids=["nothing", "half", "chunk"])
def test_a_response_that_breaks_off_is_retried(quick: None, broken: bytes) -> None:
    with serving(broken, OVERLOADED, broken, WHOLE) as server, Service(server.url) as service:
        assert service.predict(PHOTO, "mask") == b"mask"
    assert server.bodies == [PHOTO] * 4


@pytest.mark.parametrize("broken", [NOTHING, HALF, CHUNK], ids=["nothing", "half", "chunk"])
def test_broken_and_refused_responses_share_the_retries(quick: None, broken: bytes) -> None:
    with (
        serving(broken, OVERLOADED, broken, WHOLE) as server,
        Service(server.url, retries=2) as service,
        pytest.raises(NoResponse, match="broke off"),
    ):
        service.predict(PHOTO, "mask")
    assert server.bodies == [PHOTO] * 3


def test_the_last_try_says_why(quick: None) -> None:
    with (
        serving(HALF, OVERLOADED) as server,
        Service(server.url, retries=1) as service,
        pytest.raises(ServerError),
    ):
        service.predict(PHOTO, "mask")


@pytest.mark.parametrize("begun", [NOTHING, HALF], ids=["nothing", "half"])
def test_a_timeout_is_not_retried(quick: None, begun: bytes) -> None:
    with (
        serving(begun, silent=True) as server,
        Service(server.url, timeout=0.1) as service,
        pytest.raises(NoResponse, match=r"no data for 0\.1 s"),
    ):
        service.predict(PHOTO, "mask")
    assert server.bodies == [PHOTO]


def test_the_longest_pause_bounds_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.retries.LONGEST_PAUSE", 0.01)
    busy = b"HTTP/1.1 503 -\r\nContent-Length: 0\r\nRetry-After: 3600\r\n\r\n"
    with serving(busy, busy, WHOLE) as server, Service(server.url) as service:
        assert service.predict(PHOTO, "mask") == b"mask"


def test_a_slow_upload_takes_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.service.CONNECT_SECONDS", 0.3)
    body = bytes(16 << 20)
    with serving(WHOLE, pause=0.02) as server, Service(server.url, retries=0) as service:
        assert service.predict(body, "mask") == b"mask"
    assert server.bodies == [body]


def test_segmentations_keep_no_connections() -> None:
    """Each request by URL closes its connection, though the server would keep it open."""
    responses = [ok(SUMMARY)] * 2 + [ok(encoded(photo(1, 1), "PNG"))] * 2
    with serving(*responses, silent=True) as server:
        results = [segment(PHOTO, url=server.url) for _ in range(2)]
        assert connections_to(server.url) == 0
        for segmentation in results:
            segmentation.overlay()
        assert connections_to(server.url) == 0
    assert server.bodies == [PHOTO] * 4


def test_several_formats_are_one_request() -> None:
    body = zip_of({"photo.mask.png": b"mask", "photo.json": b"{}"})
    with serving(ok(body)) as server, Service(server.url) as service:
        outputs = service.predict_all(PHOTO, ["mask", "json"], threshold=0.5)
    assert outputs == {"mask": b"mask", "json": b"{}"}
    (headers,) = server.headers
    assert headers["X-Segmenter-Output"] == "mask,json"
    assert headers["X-Segmenter-Threshold"] == "0.5"


def test_a_service_of_one_format_in_a_request_gets_several() -> None:
    error = b'{"error": {"code": "unknown_output", "message": "no such format"}}'
    refused = b"HTTP/1.1 400 -\r\nContent-Length: %d\r\n\r\n%s" % (len(error), error)
    with serving(refused, ok(b"a"), ok(b"b")) as server, Service(server.url) as service:
        assert service.predict_all(PHOTO, ["mask", "json"]) == {"mask": b"a", "json": b"b"}
    outputs = [headers["X-Segmenter-Output"] for headers in server.headers]
    assert outputs == ["mask,json", "mask", "json"]


@pytest.mark.parametrize("body", [b"PK", b"<html>", b""])
def test_a_response_that_is_no_zip(body: bytes) -> None:
    with (
        serving(ok(body)) as server,
        Service(server.url) as service,
        pytest.raises(InvalidResponse),
    ):
        service.predict_all(PHOTO, ["mask", "json"])


def test_a_zip_of_other_entries() -> None:
    with (
        serving(ok(zip_of({"mask.png": b"mask"}))) as server,
        Service(server.url) as service,
        pytest.raises(InvalidResponse),
    ):
        service.predict_all(PHOTO, ["mask", "json"])


def test_an_overlay_and_a_confidence_map_are_requested_once() -> None:
    """Each call gets a picture of its own, which it may change."""
    picture = encoded(photo(1, 1), "PNG")
    with serving(ok(SUMMARY), ok(picture), ok(picture)) as server, Service(server.url) as service:
        segmentation = segment(PHOTO, service=service)
        assert server.bodies == [PHOTO]
        first = segmentation.overlay()
        first.paste((0, 0, 0), (0, 0, 1, 1))
        assert segmentation.overlay().getpixel((0, 0)) != (0, 0, 0)
        segmentation.confidence()[:] = 7
        assert segmentation.confidence().item(0) != 7
    outputs = [headers["X-Segmenter-Output"] for headers in server.headers]
    assert outputs == ["json", "overlay", "confidence"]


def test_threads_that_want_the_same_share_one_request() -> None:
    picture = ok(encoded(photo(1, 1), "PNG"))
    with serving(ok(SUMMARY), picture, pause=0.05) as server, Service(server.url) as service:
        segmentation = segment(PHOTO, service=service)
        with ThreadPoolExecutor(4) as pool:
            overlays = list(pool.map(lambda _: segmentation.overlay(), range(4)))
    assert len({overlay.tobytes() for overlay in overlays}) == 1
    assert len(server.bodies) == 2


def test_a_failed_request_is_sent_again_by_the_next_call() -> None:
    refused = b"HTTP/1.1 413 -\r\nContent-Length: 0\r\n\r\n"
    picture = ok(encoded(photo(1, 1), "PNG"))
    with serving(ok(SUMMARY), refused, picture) as server, Service(server.url) as service:
        segmentation = segment(PHOTO, service=service)
        with pytest.raises(RequestRefused):
            segmentation.overlay()
        assert segmentation.overlay().size == (1, 1)


def test_a_segmentation_can_be_pickled() -> None:
    with serving(ok(SUMMARY), ok(encoded(photo(1, 1), "PNG"))) as server:
        segmentation = pickle.loads(pickle.dumps(segment(PHOTO, url=server.url)))
        assert segmentation.overlay().size == (1, 1)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [([], "at least one"), (["caf\u00e9"], "by their ids"), (["a\r\nb"], "by their ids")],
)
def test_classes_that_no_header_carries(classes: list[str], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        segment(PHOTO, url="http://127.0.0.1:1/", classes=classes)


def test_a_token_that_no_header_carries() -> None:
    with pytest.raises(ValueError, match="printable") as caught:
        Service("http://127.0.0.1:1/", token="secret\n")
    assert "secret" not in str(caught.value)


def zip_of(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def connections_to(url: str) -> int:
    """Of this process's, those that it has opened and not closed."""
    ends = [one.raddr for one in psutil.Process().net_connections("tcp")]
    return sum(bool(end) and end.port == urlsplit(url).port for end in ends)

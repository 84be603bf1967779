"""segmenter_client.AsyncService: what the synchronous client does, and many requests at a time."""

from __future__ import annotations

import asyncio
import pickle
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from scripts.launch.ports import free_ports
from segmenter_client import (
    AsyncService,
    NoResponse,
    SegmenterError,
    ServerError,
    Service,
    Unreachable,
    segment,
)
from tests.client.cli.journal_server import Journal, journal_server
from tests.client.misbehaving_server import ok, serving
from tests.client.test_connections import make_certificate
from tests.client.test_service import (
    CHUNK,
    HALF,
    NOTHING,
    OVERLOADED,
    PHOTO,
    SUMMARY,
    WHOLE,
    zip_of,
)
from tests.photos import encoded, photo

T = TypeVar("T")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.retries.FIRST_PAUSE", 0.01)


def run(url: str, use: Callable[[AsyncService], Awaitable[T]], **options: object) -> T:
    """What `use` returns, of a service that is made before its event loop, and closed after it."""
    service = AsyncService(url, **options)  # type: ignore[arg-type]

    async def main() -> T:
        async with service:
            return await use(service)

    return asyncio.run(main())


def test_the_request_is_that_of_the_synchronous_client() -> None:
    with serving(WHOLE, WHOLE) as server:
        options = {"classes": ["car", 2], "threshold": 0.5, "name": "stra\u00dfe/1.png"}
        with Service(f"{server.url}/2.0/", token="secret") as service:
            service.predict(PHOTO, "overlay", **options)  # type: ignore[arg-type]
        body = run(
            f"{server.url}/2.0/",
            lambda service: service.predict(PHOTO, "overlay", **options),  # type: ignore[arg-type]
            token="secret",
        )
    assert body == b"mask"
    assert server.bodies == [PHOTO] * 2
    assert server.paths == ["/predictions/segmenter/2.0"] * 2
    expected, sent = ({name.lower(): value for name, value in one.items()}
                      for one in server.headers)  # fmt: skip
    names = [name for name in expected if name.startswith("x-segmenter-")]
    assert len(names) == 4
    for name in (*names, "authorization", "content-length"):
        assert sent[name] == expected[name]
    assert "transfer-encoding" not in sent


def error_reply(status: int, code: str) -> bytes:
    body = b'{"error": {"code": "%s", "message": "no", "limit": 7}}' % code.encode()
    return b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


@pytest.mark.parametrize(
    ("reply", "silent", "same_words"),
    [
        (error_reply(413, "image_too_large"), False, True),
        (error_reply(500, "worker_died"), False, True),
        (OVERLOADED, False, True),
        (b"HTTP/1.1 302 -\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", False, True),
        (b"HTTP/1.1 404 -\r\nContent-Length: 6\r\n\r\n<html>", False, True),
        (NOTHING, True, True),
        (HALF, True, True),
        (NOTHING, False, False),
        (HALF, False, False),
        (CHUNK, False, False),
        (b"no HTTP\r\n\r\n", False, False),
        (ok(b"no gzip").replace(b"OK\r\n", b"OK\r\nContent-Encoding: gzip\r\n"), False, False),
    ],
)
def test_the_errors_are_those_of_the_synchronous_client(
    reply: bytes, silent: bool, same_words: bool
) -> None:
    timeout = 0.2 if silent else 60.0
    with serving(reply, reply, silent=silent) as server:
        with (
            Service(server.url, retries=0, timeout=timeout) as service,
            pytest.raises(SegmenterError) as expected,
        ):
            service.predict(PHOTO, "mask")
        with pytest.raises(SegmenterError) as caught:
            run(server.url, lambda one: one.predict(PHOTO, "mask"), retries=0, timeout=timeout)
    assert caught.type is expected.type
    words, expected_words = str(caught.value), str(expected.value)
    if same_words:
        assert words == expected_words
        assert vars(caught.value) == vars(expected.value)
    else:  # those of httpx and urllib3 for what is broken
        assert words.startswith(f"{server.url} broke off: ")
        assert expected_words.startswith(f"{server.url} broke off: ")
        assert not words.endswith(": ")


@pytest.mark.parametrize("broken", [NOTHING, HALF, CHUNK], ids=["nothing", "half", "chunk"])
def test_a_response_that_breaks_off_is_retried(quick: None, broken: bytes) -> None:
    with serving(broken, OVERLOADED, broken, WHOLE) as server:
        assert run(server.url, lambda service: service.predict(PHOTO, "mask")) == b"mask"
    assert server.bodies == [PHOTO] * 4


def test_broken_and_refused_responses_share_the_retries(quick: None) -> None:
    with serving(HALF, OVERLOADED, HALF, WHOLE) as server, pytest.raises(NoResponse):
        run(server.url, lambda service: service.predict(PHOTO, "mask"), retries=2)
    assert server.bodies == [PHOTO] * 3


def test_the_last_try_says_why(quick: None) -> None:
    with serving(HALF, OVERLOADED) as server, pytest.raises(ServerError):
        run(server.url, lambda service: service.predict(PHOTO, "mask"), retries=1)


def test_a_timeout_is_not_retried(quick: None) -> None:
    with (
        serving(HALF, silent=True) as server,
        pytest.raises(NoResponse, match=r"no data for 0\.1 s"),
    ):
        run(server.url, lambda service: service.predict(PHOTO, "mask"), timeout=0.1)
    assert server.bodies == [PHOTO]


def test_retry_after_is_respected_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.retries.LONGEST_PAUSE", 0.3)
    busy = b"HTTP/1.1 503 -\r\nContent-Length: 0\r\nRetry-After: 3600\r\n\r\n"
    with serving(busy, WHOLE) as server:
        start = time.monotonic()
        assert run(server.url, lambda service: service.predict(PHOTO, "mask")) == b"mask"
        assert 0.3 <= time.monotonic() - start < 30


def test_a_slow_upload_takes_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.async_service.CONNECT_SECONDS", 0.3)
    body = bytes(16 << 20)
    with serving(WHOLE, pause=0.02) as server:
        start = time.monotonic()
        assert run(server.url, lambda one: one.predict(body, "mask"), retries=0) == b"mask"
        assert time.monotonic() - start > 0.6
    assert server.bodies == [body]


def test_no_more_requests_are_in_flight_than_connections() -> None:
    images = [b"%d" % index for index in range(24)]

    async def use(service: AsyncService) -> list[bytes]:
        return await asyncio.gather(*(service.predict(image, "mask") for image in images))

    with journal_server(Journal(pause=0.03)) as journal:
        assert len(run(journal.url, use, connections=4)) == 24
    assert journal.most_in_flight == 4
    assert sorted(journal.bodies) == sorted(images)


def test_a_request_in_a_pause_keeps_its_slot(quick: None) -> None:
    """An overloaded service is tried again by those that have begun, not by all others."""

    async def use(service: AsyncService) -> list[bytes | BaseException]:
        requests = (service.predict(b"%d" % index, "mask") for index in range(6))
        return await asyncio.gather(*requests, return_exceptions=True)

    # It says that it closes the connection, which would be tried once more otherwise.
    busy = OVERLOADED.replace(b"Retry-After", b"Connection: close\r\nRetry-After")
    with serving(*[busy] * 12) as server:
        outcomes = run(server.url, use, connections=2, retries=1)
    assert [type(one) for one in outcomes] == [ServerError] * 6
    for sent in range(
        1, 13
    ):  # at no time were more than two images tried once, and once more to be
        assert list(Counter(server.bodies[:sent]).values()).count(1) <= 2


def test_an_image_is_read_when_its_request_can_be_sent() -> None:
    class File:
        def __init__(self) -> None:
            self.requests_before = -1

        def read(self) -> bytes:
            self.requests_before = len(server.bodies)
            return PHOTO

    async def use(service: AsyncService) -> None:
        await asyncio.gather(*map(service.segment, files))

    files = [File() for _ in range(3)]
    with serving(*[ok(SUMMARY)] * 3) as server:
        run(server.url, use, connections=1)
    assert [file.requests_before for file in files] == [0, 1, 2]


def test_a_cancelled_request_gives_its_slot_back() -> None:
    async def use(service: AsyncService) -> bytes:
        first = asyncio.create_task(service.predict(b"first", "mask"))
        while not journal.in_flight:
            await asyncio.sleep(0.01)
        first.cancel()
        return await asyncio.wait_for(service.predict(b"second", "mask"), 30)

    with journal_server(Journal(pause=0.2)) as journal:
        assert run(journal.url, use, connections=1)


def test_a_segmentation_is_that_of_the_synchronous_client() -> None:
    """Its overlay is requested when it is wanted, with the same options; it can be pickled."""
    picture = ok(encoded(photo(1, 1), "PNG"))
    with serving(ok(SUMMARY), ok(SUMMARY), picture) as server:
        expected = segment(PHOTO, url=server.url, threshold=0.5)
        found = run(server.url, lambda service: service.segment(PHOTO, threshold=0.5))
        assert found.mask.tolist() == expected.mask.tolist()
        assert (found.classes, found.model) == (expected.classes, expected.model)
        assert pickle.loads(pickle.dumps(found)).overlay().size == (1, 1)
    outputs = [headers["X-Segmenter-Output"] for headers in server.headers]
    assert outputs == ["json", "json", "overlay"]
    assert {headers["X-Segmenter-Threshold"] for headers in server.headers} == {"0.5"}


def test_several_formats_are_one_request() -> None:
    body = zip_of({"photo.mask.png": b"mask", "photo.json": b"{}"})
    with serving(ok(body)) as server:
        outputs = run(server.url, lambda one: one.predict_all(PHOTO, ["mask", "json"]))
    assert outputs == {"mask": b"mask", "json": b"{}"}
    assert len(server.bodies) == 1


def test_a_service_of_one_format_in_a_request_gets_several() -> None:
    with serving(error_reply(400, "unknown_output"), ok(b"a"), ok(b"b")) as server:
        outputs = run(server.url, lambda one: one.predict_all(PHOTO, ["mask", "json"]))
    assert outputs == {"mask": b"a", "json": b"b"}


def test_the_model_card() -> None:
    with journal_server(Journal()) as journal, Service(journal.url) as service:
        assert run(journal.url, lambda one: one.model()) == service.model()


def test_a_service_without_a_model_card() -> None:
    with (
        serving(error_reply(400, "image_empty")) as server,
        pytest.raises(SegmenterError, match="older than this client"),
    ):
        run(server.url, lambda service: service.model())


def test_nobody_listens() -> None:
    url = f"http://127.0.0.1:{free_ports().inference}/predictions/segmenter"
    with pytest.raises(Unreachable, match=r"cannot reach .*: \S"):
        run(url, lambda service: service.predict(PHOTO, "mask"), retries=0)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://h:port/"])
def test_what_is_not_an_address(url: str) -> None:
    start = time.monotonic()
    with pytest.raises(Unreachable):
        run(url, lambda service: service.predict(PHOTO, "mask"))
    assert time.monotonic() - start < 30  # no retries: they take a minute


def test_a_certificate_is_trusted_by_its_file_only(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with serving(ok(b"mask"), ok(b"mask"), tls=tls) as server:
        for verify in (certificate, False):
            body = run(server.url, lambda one: one.predict(PHOTO, "mask"), verify=verify)
            assert body == b"mask"
        start = time.monotonic()
        with pytest.raises(Unreachable, match="verify failed"):
            run(server.url, lambda service: service.predict(PHOTO, "mask"))
        assert time.monotonic() - start < 30  # no retries: they take a minute
    assert server.bodies == [PHOTO] * 2


def test_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://segmenter.invalid/predictions/segmenter"
    with serving(ok(b"mask")) as proxy:
        address = proxy.url.removeprefix("http://").partition("/")[0]
        monkeypatch.setenv("http_proxy", f"user:p%40ss@{address}")
        assert run(url, lambda service: service.predict(PHOTO, "mask")) == b"mask"
    assert proxy.paths == [url]
    headers = {name.lower(): value for name, value in proxy.headers[0].items()}
    assert headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"  # user:p@ss


def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(ok(b"mask")) as server:
        assert run(server.url, lambda service: service.predict(PHOTO, "mask")) == b"mask"


def test_a_token_that_no_header_carries() -> None:
    with pytest.raises(ValueError, match="printable"):
        AsyncService("http://127.0.0.1:1/", token="secret\n")


def test_without_its_packages_the_error_says_what_to_install() -> None:
    """The rest of the client does not need them."""
    program = (
        "import sys; sys.modules['httpx'] = None\n"
        "import segmenter_client\n"
        "try:\n    segmenter_client.AsyncService\n"
        "except ImportError as error:\n    print(error)"
    )
    folder = Path(sys.modules["segmenter_client"].__file__ or "").parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == "AsyncService needs httpx: pip install 'segmenter-client[async]'\n"

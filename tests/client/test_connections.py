"""How the client connects: addresses without a service, certificates, proxies."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from urllib3.exceptions import InsecureRequestWarning

from scripts.launch.ports import free_ports
from segmenter_client import Service, Unreachable, segment
from tests.client.misbehaving_server import ok, serving

IMAGE = b"an image"


def test_nobody_listens() -> None:
    url = f"http://127.0.0.1:{free_ports().inference}/predictions/segmenter"
    with pytest.raises(Unreachable, match="Connection refused"):
        segment(IMAGE, service=Service(url, retries=1))


def test_an_address_that_drops_all_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full backlog: Linux does not reply to further connections."""
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
            service.predict(IMAGE, "json")
    assert "connect timeout=0.05" in str(caught.value.__cause__)  # of 2 s, not one


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://h:port/"])
def test_what_is_not_an_address(url: str) -> None:
    with pytest.raises(Unreachable), Service(url) as service:
        service.predict(IMAGE, "mask")


def test_a_certificate_is_trusted_by_its_file_only(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with serving(ok(b"mask"), ok(b"mask"), tls=tls) as server:
        with Service(server.url, verify=certificate) as service:
            assert service.predict(IMAGE, "mask") == b"mask"
        start = time.monotonic()
        with Service(server.url) as service, pytest.raises(Unreachable, match="verify failed"):
            service.predict(IMAGE, "mask")
        assert time.monotonic() - start < 30  # no retries: they take a minute
        with (
            Service(server.url, verify=False) as service,
            pytest.warns(InsecureRequestWarning),
        ):
            assert service.predict(IMAGE, "mask") == b"mask"
    assert server.bodies == [IMAGE] * 2


def test_tls_with_a_server_that_does_not_speak_it() -> None:
    start = time.monotonic()
    with serving() as server, pytest.raises(Unreachable):
        segment(IMAGE, url=server.url.replace("http://", "https://"))
    assert time.monotonic() - start < 30  # no retries: they take a minute


def test_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://segmenter.invalid/predictions/segmenter"
    with serving(ok(b"mask")) as proxy:
        address = proxy.url.removeprefix("http://").partition("/")[0]
        monkeypatch.setenv("http_proxy", f"user:p%40ss@{address}")
        with Service(url) as service:
            assert service.predict(IMAGE, "mask") == b"mask"
    assert proxy.paths == [url]
    assert proxy.headers[0]["proxy-authorization"] == "Basic dXNlcjpwQHNz"  # user:p@ss


def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(ok(b"mask")) as server, Service(server.url) as service:
        assert service.predict(IMAGE, "mask") == b"mask"


def test_a_proxy_that_does_not_speak_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(ValueError, match="unsupported proxy: socks5"):
        Service("http://segmenter.invalid/predictions/segmenter")


def make_certificate(certificate: Path, key: Path) -> None:
    """Self-signed, for 127.0.0.1."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )

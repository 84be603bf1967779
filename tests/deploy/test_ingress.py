"""The gateway behind a proxy: plain HTTP, clients told apart by X-Forwarded-For, a given token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from scripts.launch.credentials import GatewayError
from scripts.launch.gateway import Gateway, running_in
from scripts.launch.ingress import Ingress, parse_proxies
from scripts.launch.loopback import session, tiny_image
from scripts.launch.nginx_config import ClientLimits
from tests.deploy.conftest import Stub

Start = Callable[..., Gateway]


def get(front: Gateway, path: str, **headers: str) -> requests.Response:
    with session() as http:
        headers = {"Authorization": f"Bearer {front.token}", **headers}
        return http.get(front.url + path, headers=headers, timeout=30)


def test_plain_http_still_asks_for_the_token(start_gateway: Start, stub: Stub) -> None:
    front = start_gateway(stub.instance.ports.inference, ingress=Ingress(plain_http=True))
    assert front.url.startswith("http://")
    assert running_in(front.folder) == front
    with session() as http:
        assert http.post(front.predictions, data=tiny_image(), timeout=30).status_code == 401
    assert get(front, "/predictions/segmenter").status_code == 200
    assert get(front, "/ready", Authorization="").status_code == 200
    assert "HTTPS" not in get(front, "/live", Host="a b").text  # 400, which tells no one to use it


@pytest.mark.parametrize(("trusted", "status"), [(("127.0.0.0/8",), 200), ((), 429)])
def test_limits_are_each_clients_behind_a_proxy_that_is_trusted(
    start_gateway: Start, stub: Stub, trusted: tuple[str, ...], status: int
) -> None:
    limits = ClientLimits(requests_per_second=1, burst=1)
    ingress = Ingress(plain_http=True, proxies=trusted)
    front = start_gateway(stub.instance.ports.inference, limits, ingress=ingress)
    path = "/predictions/segmenter"
    first = [get(front, path, **{"X-Forwarded-For": "192.0.2.1"}).status_code for _ in range(8)]
    assert first[0] == 200
    assert first[-1] == 429
    assert get(front, path, **{"X-Forwarded-For": "192.0.2.2"}).status_code == status


def test_a_given_token(start_gateway: Start, stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("ab" * 32 + "\n", "ascii")
    front = start_gateway(
        stub.instance.ports.inference, ingress=Ingress(plain_http=True), token=file
    )
    assert front.token == "ab" * 32
    assert get(front, "/predictions/segmenter").status_code == 200


@pytest.mark.parametrize("text", [None, "", "AB" * 32, "ab" * 16, "\xff"])
def test_a_token_that_is_none(start_gateway: Start, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "secret"
    if text is not None:
        file.write_text(text, "latin-1")
    with pytest.raises(GatewayError, match="secret"):
        start_gateway(1, token=file)


def test_proxies_are_networks() -> None:
    assert parse_proxies("10.0.0.0/8, 192.0.2.7,fd00::/8") == (
        *("10.0.0.0/8", "192.0.2.7/32"),
        "fd00::/8",
    )
    assert parse_proxies("") == ()
    for wrong in ("10.0.0.1/8", "ingress", "10.0.0.0/8; }"):
        with pytest.raises(GatewayError, match="networks between commas"):
            parse_proxies(wrong)

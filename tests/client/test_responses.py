"""Responses that are errors, or not the service's at all."""

from __future__ import annotations

import pytest

from segmenter_client import InvalidResponse, RequestRefused, ServerError, segment
from segmenter_client.errors import error_response
from tests.client.misbehaving_server import ok, serving


def test_errors_of_others_on_the_way() -> None:
    torchserve = error_response(503, b'{"code": 503, "type": "Busy", "message": "queue is full"}')
    assert isinstance(torchserve, ServerError)
    assert (torchserve.code, torchserve.message) == ("Busy", "queue is full")
    proxy = error_response(413, b"<html>")
    assert isinstance(proxy, RequestRefused)
    assert proxy.code == "http_413"
    assert isinstance(error_response(302, b""), InvalidResponse)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"size": 3, "classes": []}'])
def test_a_response_of_something_else(body: bytes) -> None:
    with serving(ok(body)) as server, pytest.raises(InvalidResponse, match="not the service's"):
        segment(b"an image", url=server.url)

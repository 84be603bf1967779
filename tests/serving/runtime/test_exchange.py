"""The error response of a single request."""

from __future__ import annotations

import json
from fractions import Fraction

from imaging.errors import ImageTooLarge
from serving.runtime.exchange import Exchange
from serving.types import HttpRequest, Response


def exchange() -> Exchange:
    return Exchange(HttpRequest("id-1", {}, {}))


def test_an_error_without_a_response_is_our_fault() -> None:
    """Otherwise it would leave the service, and the whole batch without responses."""

    def fail(_: Exchange) -> None:
        raise ImageTooLarge("image_too_large", "too large", width=Fraction(1, 2))

    failed = exchange()
    failed.run("decode", fail)
    assert failed.response is not None
    assert failed.response.status == 500
    assert json.loads(failed.response.body)["error"]["request_id"] == "id-1"


def never(_: Exchange) -> None:
    raise AssertionError("the stage ran")


def test_a_request_with_its_response_skips_later_stages() -> None:
    settled = exchange()
    settled.response = Response(200, "text/html", b"viewer")
    settled.run("mask", never)
    assert settled.response.body == b"viewer"
    assert settled.milliseconds == {}

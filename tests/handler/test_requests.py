"""What TorchServe hands over becomes requests."""

from __future__ import annotations

from typing import Any

import pytest

from handler import headers_of, http_request, is_describe
from imaging.errors import UnreadableImage
from serving.request.parse import parse_request
from serving.types import DocumentRequest

LABELS = ("background", "road", "car")
PHOTO = b"\xff\xd8\xff\xe0photo"
FORM = "multipart/form-data; boundary=x"

# What TorchServe 0.12.0 hands over for `curl URL` and for a browser that opens the URL.
CURL_GET = {"Host": "h", "Accept": "*/*", "content-length": "0", "explain": "False", "url_path": ""}
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class TestViewer:
    def parse(self, torchserve: Any, headers: dict[str, str], **parts: bytes) -> object:
        received = [(name, "", bytearray(value)) for name, value in parts.items()]
        row, context = torchserve(received, headers)
        return parse_request(http_request(row, context, 0), LABELS)

    @pytest.mark.parametrize(
        "headers",
        [
            CURL_GET,
            {**CURL_GET, "Accept": HTML},
            {**CURL_GET, "Accept": "text/*"},
            {**CURL_GET, "url_path": "page", "Accept": "image/png"},
            {"host": "h", "accept": HTML, "content-length": "0"},  # behind a lower-casing proxy
            {"Host": "h"},
        ],
    )
    def test_on_get(self, torchserve: Any, headers: dict[str, str]) -> None:
        assert self.parse(torchserve, headers, body=b"") == DocumentRequest("page")

    def test_the_model_card_by_header(self, torchserve: Any) -> None:
        headers = {**CURL_GET, "X-Segmenter-Output": "model"}
        assert self.parse(torchserve, headers, body=b"") == DocumentRequest("model")

    def test_by_query_parameter(self, torchserve: Any) -> None:
        request = self.parse(torchserve, CURL_GET, body=b"", output=b"page")
        assert request == DocumentRequest("page")

    @pytest.mark.parametrize(
        "headers",
        [
            {**CURL_GET, "url_path": "mask"},
            {**CURL_GET, "url_path": "nothing"},
            {**CURL_GET, "Accept": "application/json"},
            {**CURL_GET, "Accept": "*/*, text/html;q=0"},
            {"Host": "h", "Accept": "*/*", "Content-Length": "0"},  # requests.post(url, data=b"")
            {**CURL_GET, "Content-Type": "image/jpeg"},
            {"host": "h", "accept": "*/*", "content-length": "0"},  # node's fetch, GET or POST
        ],
    )
    def test_not_for_an_empty_post(self, torchserve: Any, headers: dict[str, str]) -> None:
        with pytest.raises(UnreadableImage) as caught:
            self.parse(torchserve, headers, body=b"")
        assert caught.value.code == "image_empty"


class TestHeaders:
    def test_names_in_lower_case_without_those_of_parts(self, torchserve: Any) -> None:
        parts = [("image", "image/png", b"x"), ("accept", "", b"y")]
        _, context = torchserve(parts, {"X-Trace": "1", "CONTENT-TYPE": FORM})
        assert headers_of(context, 0) == {"x-trace": "1", "content-type": FORM}

    @pytest.mark.parametrize("turn", [1, -1])
    def test_torchserves_own_header_wins_over_the_clients(self, torchserve: Any, turn: int) -> None:
        both = [("URL_Path", "json"), ("url_path", "mask")][::turn]
        _, context = torchserve([], dict(both))
        assert headers_of(context, 0)["url_path"] == "mask"


def test_describe_is_told_from_a_photo_with_the_same_header(torchserve: Any) -> None:
    _, context = torchserve([], {"describe": "True"})
    assert is_describe([{}], context)
    assert not is_describe([{"body": bytearray(PHOTO)}], context)
    _, context = torchserve([], {})
    assert not is_describe([{}], context)


def test_a_request_has_its_suffix_headers_and_parts(torchserve: Any) -> None:
    headers = {**CURL_GET, "url_path": "overlay/", "Content-Type": "image/jpeg"}
    row, context = torchserve([("body", "", bytearray(PHOTO))], headers)
    request = http_request(row, context, 0)
    assert request.path_suffix == "overlay/"
    assert request.parts == {"body": PHOTO}
    assert request.headers["content-type"] == "image/jpeg"
    assert "url_path" not in request.headers

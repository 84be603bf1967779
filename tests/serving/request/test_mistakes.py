"""What is sent in place of an image, and what the client is told to do."""

from __future__ import annotations

import base64
import io
from urllib.parse import quote

import pytest
from PIL import Image

from serving.errors import RequestError
from serving.request.parse import parse_request
from serving.types import HttpRequest, SegmentationRequest

FORM = "multipart/form-data; boundary=x"


def image(image_format: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "gray").save(file, image_format)
    return file.getvalue()


FILES = {name: image(name) for name in ("JPEG", "PNG", "GIF", "WebP", "TIFF", "BMP")}
BASE64 = {name: base64.b64encode(data) for name, data in FILES.items()}


def code_of(body: bytes, content_type: str, part: str = "body") -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        parse_request(HttpRequest("", {"content-type": content_type}, {part: body}), ())
    return caught.value.status, caught.value.code


@pytest.mark.parametrize("name", FILES)
def test_base64_outside_of_json(name: str) -> None:
    for body in (BASE64[name], b"data:image/png;base64," + BASE64[name], b'"' + BASE64[name]):
        assert code_of(body, FORM, "image") == (415, "undeclared_base64")
        assert code_of(body, "image/png") == (415, "undeclared_base64")


def test_base64_in_a_form_that_a_gateway_passes_on_as_bytes() -> None:
    for body in (b"image=" + BASE64["PNG"], b"image=" + quote(BASE64["JPEG"], safe="").encode()):
        assert code_of(body, "application/octet-stream") == (415, "undeclared_base64")


@pytest.mark.parametrize("content_type", ["text/plain", "image/png", "text/plain;charset=UTF-8"])
@pytest.mark.parametrize("body", [b'{"image": "', b' [{"image"', b'{\n  "instances": ['])
def test_json_that_is_not_declared(body: bytes, content_type: str) -> None:
    assert code_of(body, content_type) == (415, "undeclared_json")


def test_json_without_any_type_is_taken_for_what_it_is() -> None:
    assert code_of(b'{"image": "?"}', "") == (400, "invalid_base64")


def test_a_form_without_a_boundary() -> None:
    body = b'--7af3\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + FILES["PNG"]
    assert code_of(body, "multipart/form-data") == (415, "undeclared_form")


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_none_of_these(name: str) -> None:
    for content_type, part in (("image/png", "body"), (FORM, "image"), ("text/plain", "body")):
        headers = {"content-type": content_type}
        request = parse_request(HttpRequest("", headers, {part: FILES[name]}), ())
        assert isinstance(request, SegmentationRequest)
        assert request.images[0].data == FILES[name]

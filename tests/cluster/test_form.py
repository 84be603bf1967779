"""Forms as clients make them, and those that nobody should."""

from __future__ import annotations

import pytest
import requests

from cluster.form import parse_form
from serving.errors import RequestError
from serving.wire import MAX_PARTS

TYPE = "multipart/form-data; boundary=q"
PART = b'--q\r\nContent-Disposition: form-data; name="a"\r\n\r\n%b\r\n'


def test_a_form_of_requests() -> None:
    """With all bytes, a name beyond ASCII, and a field without a file."""
    content = bytes(range(256)) * 100 + b"\r\n--"
    files = {"image": ("str\u00e4\u00dfe.jpg", content, "image/jpeg")}
    prepared = requests.Request("POST", "http://test", files=files, data={"output": "json"})
    sent = prepared.prepare()
    assert isinstance(sent.body, bytes)
    output, image = parse_form(sent.headers["Content-Type"], sent.body)
    assert (output.name, output.filename, output.data) == ("output", None, b"json")
    assert (image.name, image.filename, image.data) == ("image", "str\u00e4\u00dfe.jpg", content)


def test_names_as_browsers_and_curl_quote_them() -> None:
    disposition = 'form-data; name=image; filename="a \\"b\\"; c.jpg"'
    body = f"--q\r\ncontent-DISPOSITION: {disposition}\r\n\r\nx\r\n--q--\r\n"
    (part,) = parse_form('Multipart/Form-Data; charset=utf-8; boundary="q"', body.encode("ascii"))
    assert (part.name, part.filename, part.data) == ("image", 'a "b"; c.jpg', b"x")


def test_empty_forms_and_parts() -> None:
    (part,) = parse_form(TYPE, PART % b"" + b"--q--\r\n")
    assert part.data == b""


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        ("multipart/form-data", PART % b"x" + b"--q--", "declares no boundary"),
        ("multipart/form-data; boundary=", PART % b"x" + b"--q--", "declares no boundary"),
        (f"multipart/form-data; boundary={300 * 'q'}", b"x", "do not follow their boundary"),
        (TYPE, b"xx", "do not follow their boundary"),
        (TYPE, b"\x1f\x8b compressed", "do not follow their boundary"),
        (TYPE, PART % b"x", "ends before its last boundary"),
        (TYPE, (PART % b"x")[:-4], "ends before its last boundary"),
        (TYPE, b"--q\r\n\r\nx\r\n--q--\r\n", "a part has no name"),
        (TYPE, (PART % b"x").replace(b'"a"', b'""') + b"--q--\r\n", "a part has no name"),
        (TYPE, (PART % b"x").replace(b"form-data", b"attachment") + b"--q--\r\n", "has no name"),
        (TYPE, (PART % b"x").replace(b'"a"', b'"\xff"') + b"--q--\r\n", "is not UTF-8"),
        (
            TYPE,
            b"--q\r\nContent-Disposition: form-data; name=a\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--q--\r\n",
            "a part is encoded",
        ),
        (TYPE, (MAX_PARTS + 1) * (PART % b"x") + b"--q--\r\n", f"more than {MAX_PARTS} parts"),
    ],
)
def test_a_broken_form_is_named(content_type: str, body: bytes, reason: str) -> None:
    with pytest.raises(RequestError, match=reason) as refused:
        parse_form(content_type, body)
    assert (refused.value.status, refused.value.code) == (400, "bad_request")

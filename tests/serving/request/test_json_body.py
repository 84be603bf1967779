from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import RequestError
from serving.request.body import Body
from serving.request.images import images_in
from serving.request.json_body import parse_json
from serving.wire import JSON_SHAPES

IMAGE = bytes(range(256))
BASE64 = base64.b64encode(IMAGE).decode()

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(BASE64),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["image", "b64", "data", "instances", "inputs", "datatype", "output", "x"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


def image_in(document: object) -> object:
    image, *_ = images_in(Body(document=document, is_json=True))
    if isinstance(image, RequestError):
        raise image
    return image


def tensor(data: object, **fields: object) -> dict[str, object]:
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": data, **fields}


@pytest.mark.parametrize(
    "document",
    [
        {"image": BASE64},
        {"image": {"b64": BASE64}},
        {"b64": BASE64},
        BASE64,
        {"instances": [{"b64": BASE64}]},
        {"instances": [{"image": {"b64": BASE64}}]},
        {"instances": [{"image": BASE64}]},
        {"instances": [{"data": BASE64}]},
        {"instances": [BASE64], "parameters": {}},
        {"inputs": [tensor([BASE64])], "id": "7"},
        {"image": f"data:image/png;base64,{BASE64}"},
        {"image": f"DATA:image/png;charset=x;Base64,{BASE64}"},
        {"image": "\r\n".join(BASE64[i : i + 76] for i in range(0, len(BASE64), 76)) + "\n"},
    ],
)
def test_every_shape_holds_the_image(document: object) -> None:
    assert image_in(document) == IMAGE


@pytest.mark.parametrize("shape", JSON_SHAPES)
def test_the_shapes_told_to_clients_are_read(shape: str) -> None:
    assert image_in(json.loads(shape.replace("<base64>", BASE64))) == IMAGE


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (None, "image_missing"),
        (7, "image_missing"),
        ([], "image_missing"),
        ([BASE64], "image_missing"),
        ({}, "image_missing"),
        ({"photo": BASE64}, "image_missing"),
        ({"image": None}, "image_missing"),
        ({"image": {"b64": {"b64": BASE64}}}, "image_missing"),
        ({"instances": []}, "image_missing"),
        ({"instances": {"b64": BASE64}}, "image_missing"),
        ({"instances": [[BASE64]]}, "image_missing"),
        ({"inputs": [tensor([BASE64])] * 2}, "invalid_inference_request"),
        ({"inputs": [tensor([BASE64, BASE64])]}, "invalid_inference_request"),
        ({"inputs": [tensor([BASE64, BASE64], shape=[2, 2])]}, "invalid_inference_request"),
        ({"inputs": [tensor([1.0], datatype="FP32")]}, "invalid_inference_request"),
        ({"inputs": [tensor([])]}, "image_missing"),
        ({"inputs": ["x"]}, "image_missing"),
        ({"image": "not base64!"}, "invalid_base64"),
        ({"image": BASE64[:-1]}, "invalid_base64"),
        ({"image": BASE64.replace("+", "-")}, "invalid_base64"),
        ({"image": "h\u00e9"}, "invalid_base64"),
        ({"image": "http://example.org/photo.jpg"}, "invalid_base64"),
        ({"image": f"data:image/png,{BASE64}"}, "invalid_base64"),
    ],
)
def test_what_is_wrong_is_named(document: object, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        image_in(document)
    assert (caught.value.status, caught.value.code) == (400, code)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xd8\xff\xe0", b"[" * 9_000, b"1" * 10_000, b"{'a': 1}"]
)
def test_what_is_not_json_is_named(data: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_json(data)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


@pytest.mark.parametrize("element", [b"{}", b"[]", b"0", b'"a":0', b'{"a":[1]}'])
def test_a_document_of_many_values_is_not_parsed(
    element: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("json.loads", None)
    with pytest.raises(RequestError) as caught:
        parse_json(b"[" + b",".join([element] * 100_000) + b"]")
    assert (caught.value.status, caught.value.code) == (400, "json_too_complex")


def test_a_large_image_is_no_complex_document() -> None:
    text = base64.b64encode(IMAGE * 10_000)
    assert parse_json(b'{"image": "%s"}' % text) == {"image": text.decode()}


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_document_or_a_request_error(data: bytes) -> None:
    with suppress(RequestError):
        parse_json(data)


@given(JSON)
def test_any_document_gives_bytes_or_a_request_error(document: Any) -> None:
    with suppress(RequestError):
        assert isinstance(image_in(document), bytes)


@given(st.binary(max_size=300))
def test_base64_of_any_bytes_comes_back(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert image_in({"image": text}) == data
    assert image_in({"instances": [{"b64": f"data:;base64,{text}"}]}) == data

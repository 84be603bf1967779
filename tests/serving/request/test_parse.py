from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.errors import ImageError, UnreadableImage
from serving.errors import RequestError
from serving.formats import MEDIA_TYPES
from serving.request.parse import parse_request
from serving.types import DocumentRequest, HttpRequest, ImageFile, SegmentationRequest

Parsed = Union[SegmentationRequest, DocumentRequest]

LABELS = ("background", "road", "car")
PHOTO = b"\xff\xd8\xff\xe0photo"
BASE64 = base64.b64encode(PHOTO).decode()
FORM = "multipart/form-data; boundary=x"
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def parse(row: Mapping[str, object], headers: dict[str, str], suffix: str = "") -> Parsed:
    """Of parts as bytes, or as documents that are sent as JSON."""
    parts = {
        name: part if isinstance(part, (bytes, bytearray)) else bytearray(json.dumps(part).encode())
        for name, part in row.items()
    }
    return parse_request(HttpRequest("id", headers, parts, suffix), LABELS)


def read_request(
    row: Mapping[str, object], headers: dict[str, str], suffix: str = ""
) -> SegmentationRequest:
    request = parse(row, headers, suffix)
    assert isinstance(request, SegmentationRequest)
    return request


def plain(image: bytes, output: str) -> SegmentationRequest:
    """One image in one format, without options."""
    return SegmentationRequest((ImageFile(image),), (output,))


def jpeg(**headers: str) -> dict[str, str]:
    return {"content-type": "image/jpeg", "content-length": "9", **headers}


class TestImage:
    @pytest.mark.parametrize("content_type", ["image/jpeg", "", "application/octet-stream"])
    def test_plain_body(self, content_type: str) -> None:
        headers = {"content-length": "9", "content-type": content_type}
        assert read_request({"body": bytearray(PHOTO)}, headers) == plain(PHOTO, "mask")

    @pytest.mark.parametrize("name", ["image", "file", "data", "body", "photo", ""])
    def test_part_of_a_form_under_any_name(self, name: str) -> None:
        row = {name: bytearray(PHOTO), "output": bytearray(b"json")}
        assert read_request(row, {"content-type": FORM}) == plain(PHOTO, "json")

    @pytest.mark.parametrize(
        ("field", "image", "nearest"),
        [
            ("user", "file", None),
            ("treshold", "file", "threshold"),
            ("Class", "photo", "classes"),
            ("ouput", "image", "output"),
        ],
    )
    def test_part_that_is_neither_image_nor_option(
        self, field: str, image: str, nearest: str | None
    ) -> None:
        row = {field: bytearray(b"7"), image: bytearray(PHOTO)}
        with pytest.raises(RequestError) as caught:
            read_request(row, {"content-type": FORM})
        assert (caught.value.status, caught.value.code) == (400, "unknown_name")
        assert repr(field) in caught.value.message
        assert caught.value.details["nearest"] == nearest
        assert nearest is None or f"Did you mean {nearest}?" in caught.value.message

    @pytest.mark.parametrize("names", [("a", "b"), ("image", "file")])
    def test_two_parts_that_may_be_the_image(self, names: tuple[str, str]) -> None:
        with pytest.raises(RequestError) as caught:
            read_request({name: bytearray(PHOTO) for name in names}, {"content-type": FORM})
        assert (caught.value.status, caught.value.code) == (400, "one_image_per_request")

    @pytest.mark.parametrize(
        "document",
        [
            {"image": BASE64},
            {"instances": [{"b64": BASE64}]},
            {"inputs": [{"name": "i", "shape": [1], "datatype": "BYTES", "data": [BASE64]}]},
            {"inputs": BASE64},
            BASE64,
        ],
    )
    def test_json(self, document: object) -> None:
        headers = {"content-type": "application/json; charset=utf-8", "accept": "image/jpeg"}
        assert read_request({"body": document}, headers) == plain(PHOTO, "overlay")

    @pytest.mark.parametrize("content_type", ["Application/JSON", "application/json"])
    def test_json_as_bytes(self, content_type: str) -> None:
        body = bytearray(b'{"image": "%s", "output": "npy"}' % BASE64.encode())
        request = read_request({"body": body}, {"content-type": content_type})
        assert request == plain(PHOTO, "npy")

    def test_photo_declared_as_json(self) -> None:
        with pytest.raises(RequestError) as caught:
            read_request({"body": bytearray(PHOTO)}, {"content-type": "application/json"})
        assert (caught.value.status, caught.value.code) == (400, "invalid_json")

    @pytest.mark.parametrize("document", [None, 7, 0.5, True, [], [1], {}, {"output": "json"}])
    def test_json_without_image(self, document: object) -> None:
        with pytest.raises(RequestError) as caught:
            read_request({"body": document}, {"content-type": "application/json"})
        assert (caught.value.status, caught.value.code) == (400, "image_missing")

    @pytest.mark.parametrize("row", [{}, {"\x89PNG\r\n": bytearray(b"x")}, {"a": b"1", "b": b""}])
    def test_curl_data_binary_without_a_type(self, row: dict[str, object]) -> None:
        headers = {"content-type": "application/x-www-form-urlencoded", "content-length": "164"}
        with pytest.raises(RequestError) as caught:
            read_request(row, headers)
        assert (caught.value.status, caught.value.code) == (400, "image_missing")
        assert "curl -T" in caught.value.message
        assert "Content-Type: image/jpeg" in caught.value.message

    def test_form_with_options_only(self) -> None:
        headers = {"content-type": FORM, "content-length": "145"}
        with pytest.raises(RequestError) as caught:
            read_request({"output": bytearray(b"json")}, headers)
        assert (caught.value.status, caught.value.code) == (400, "image_missing")


class TestOutput:
    @pytest.mark.parametrize("suffix", ["overlay", "overlay/", "//overlay//", " overlay"])
    def test_suffix_goes_before_part_and_accept(self, suffix: str) -> None:
        row = {"image": bytearray(PHOTO), "output": bytearray(b"npy")}
        headers = {"content-type": FORM, "accept": "application/json"}
        assert read_request(row, headers, suffix).outputs == ("overlay",)

    @pytest.mark.parametrize("value", [bytearray(b"npy"), b"npy\r\n"])
    def test_part_goes_before_accept(self, value: object) -> None:
        headers = {"content-type": FORM, "accept": "application/json"}
        assert read_request({"image": bytearray(PHOTO), "output": value}, headers).outputs == (
            "npy",
        )

    def test_key_goes_before_query_parameter(self) -> None:
        row = {"body": {"image": BASE64, "output": "json"}, "output": bytearray(b"npy")}
        assert read_request(row, {"content-type": "application/json"}).outputs == ("json",)

    def test_header_goes_before_accept(self) -> None:
        headers = jpeg(**{"accept": "application/json", "x-segmenter-output": "overlay"})
        assert read_request({"body": bytearray(PHOTO)}, headers).outputs == ("overlay",)

    def test_field_goes_before_header(self) -> None:
        headers = {"content-type": FORM, "x-segmenter-output": "overlay"}
        row = {"image": bytearray(PHOTO), "output": bytearray(b"npy")}
        assert read_request(row, headers).outputs == ("npy",)

    def test_unknown_header(self) -> None:
        with pytest.raises(RequestError) as caught:
            read_request({"body": bytearray(PHOTO)}, jpeg(**{"x-segmenter-output": "masks"}))
        assert caught.value.code == "unknown_output"

    def test_accept_decides_where_the_name_is_empty(self) -> None:
        row = {"image": bytearray(PHOTO), "output": bytearray(b"")}
        assert read_request(row, jpeg(accept="image/jpeg"), "/").outputs == ("overlay",)

    @pytest.mark.parametrize(
        "name", ["masks", "Mask", "overlay/x", "page", "model", "../mask", "\u00e9"]
    )
    def test_unknown_suffix_lists_the_outputs(self, name: str) -> None:
        with pytest.raises(RequestError) as caught:
            read_request({"body": bytearray(PHOTO)}, jpeg(), name)
        assert (caught.value.status, caught.value.code) == (400, "unknown_output")
        assert caught.value.details["outputs"] == list(MEDIA_TYPES)
        assert caught.value.message.isascii()

    @pytest.mark.parametrize(
        "value", [7, ["masks"], [7], {"name": "mask"}, "masks", "mask,", "mask,page"]
    )
    def test_unknown_key(self, value: object) -> None:
        with pytest.raises(RequestError) as caught:
            read_request(
                {"body": {"image": BASE64, "output": value}}, {"content-type": "application/json"}
            )
        assert caught.value.code == "unknown_output"

    def test_a_photo_never_gets_the_viewer(self) -> None:
        with pytest.raises(RequestError) as caught:
            read_request({"body": bytearray(PHOTO)}, jpeg(accept="text/html"))
        assert (caught.value.status, caught.value.code) == (406, "not_acceptable")
        assert read_request({"body": bytearray(PHOTO)}, jpeg(accept=HTML)).outputs == ("mask",)


class TestViewer:
    @pytest.mark.parametrize("row", [{}, {"body": bytearray()}, {"image": bytearray()}])
    def test_not_for_an_empty_part_or_form(self, row: dict[str, object]) -> None:
        with pytest.raises(UnreadableImage) as caught:
            read_request(row, {"content-type": "text/plain", "content-length": "0"})
        assert caught.value.code == "image_empty"


class TestModelCard:
    def test_named_where_there_is_no_image(self) -> None:
        assert parse({}, {"x-segmenter-output": "model"}) == DocumentRequest("model")
        assert parse({"body": bytearray()}, {"accept": HTML}, "model") == DocumentRequest("model")


VALUES = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.binary(max_size=20).map(bytearray)
    | st.lists(st.integers(), max_size=2)
    | st.sampled_from([b"mask", {"image": BASE64}, {"instances": [BASE64]}, {"image": 1}, BASE64])
    | st.fixed_dictionaries(
        {"inputs": st.just(BASE64) | st.just([{"datatype": "BYTES", "data": [BASE64]}])},
        optional={"parameters": st.none() | st.just({"threshold": 2}), "id": st.integers()},
    )
)
ROWS = st.dictionaries(
    st.sampled_from(["body", "image", "data", "output", "classes", "threshold"])
    | st.text(max_size=8),
    VALUES,
)
HEADERS = st.dictionaries(
    st.sampled_from(["accept", "content-type", "content-length", "host", "describe"])
    | st.sampled_from(
        [
            "x-segmenter-classes",
            "x-segmenter-threshold",
            "x-segmenter-output",
            "inference-header-content-length",
        ]
    ),
    st.sampled_from(["", "0", "9", "mask", "page", "*/*", "text/html", "image/png"])
    | st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain", FORM])
    | st.text(max_size=20),
)


@given(ROWS, HEADERS, st.sampled_from(["", "mask", "page", "/"]) | st.text(max_size=8))
def test_any_request_is_parsed_or_refused(
    row: dict[str, object], headers: dict[str, str], suffix: str
) -> None:
    with suppress(RequestError, ImageError):
        request = parse(row, headers, suffix)
        if isinstance(request, SegmentationRequest):
            assert all(type(image.data) is bytes for image in request.images)
            assert set(request.outputs) <= MEDIA_TYPES.keys()

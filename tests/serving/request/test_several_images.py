"""Several images in one request, their names, and several output formats."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import numpy as np
import pytest

from serving.errors import RequestError
from serving.formats import MEDIA_TYPES
from serving.request.parse import parse_request
from serving.types import HttpRequest, ImageFile, SegmentationRequest
from serving.wire import INFERENCE_HEADER_LENGTH, MAX_IMAGES, MAX_PARTS

LABELS = ("background", "road", "car")
FIRST, SECOND = b"\xff\xd8\xff\xe0first", b"\xff\xd8\xff\xe0second"
FORM = {"content-type": "multipart/form-data; boundary=x"}
JSON = {"content-type": "application/json"}


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def form(
    parts: Mapping[str, bytes],
    headers: Mapping[str, str] = FORM,
    filenames: Mapping[str, str] | None = None,
) -> SegmentationRequest:
    request = HttpRequest("id", headers, parts, filenames=filenames or {})
    parsed = parse_request(request, LABELS)
    assert isinstance(parsed, SegmentationRequest)
    return parsed


def document(content: object, headers: Mapping[str, str] = JSON) -> SegmentationRequest:
    return form({"body": json.dumps(content).encode()}, headers)


def body(**headers: str) -> SegmentationRequest:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return form({"body": FIRST}, {"content-type": "image/jpeg", **names})


def code_of(parts: Mapping[str, bytes], headers: Mapping[str, str] = FORM) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        form(parts, headers)
    assert caught.value.message.isascii()
    return caught.value.status, caught.value.code


def json_code_of(content: object) -> tuple[int, str]:
    return code_of({"body": json.dumps(content).encode()}, JSON)


def names(request: SegmentationRequest) -> list[str]:
    return [image.name for image in request.images]


class TestImages:
    def test_numbered_parts_are_a_list_in_the_order_of_their_numbers(self) -> None:
        request = form({"image10": SECOND, "output": b"json", "image2": FIRST})
        assert request.images == (ImageFile(FIRST, "image2"), ImageFile(SECOND, "image10"))
        assert request.is_list

    def test_a_list_of_one(self) -> None:
        assert form({"image0": FIRST}).is_list
        assert not form({"image": FIRST}).is_list

    @pytest.mark.parametrize("other", ["image", "file", "data"])
    def test_numbered_parts_beside_another_image(self, other: str) -> None:
        assert code_of({"image0": FIRST, other: SECOND}) == (400, "one_image_per_request")

    def test_an_unknown_field_beside_a_list(self) -> None:
        assert code_of({"image0": FIRST, "image1": FIRST, "ouput": b"x"}) == (400, "unknown_name")

    def test_kserve_instances(self) -> None:
        request = document({"instances": [{"b64": base64_of(FIRST)}, base64_of(SECOND)]})
        assert [image.data for image in request.images] == [FIRST, SECOND]
        assert (request.is_list, request.outputs) == (True, ("kserve",))

    def test_an_instance_that_cannot_be_read_is_its_error(self) -> None:
        request = document({"instances": [{"b64": "no base64!"}, {"b64": base64_of(SECOND)}]})
        failed, read = (image.data for image in request.images)
        assert isinstance(failed, RequestError)
        assert failed.code == "invalid_base64"
        assert read == SECOND

    @pytest.mark.parametrize("shape", [[2], [2, 1], [1, 2]])
    def test_elements_of_a_tensor(self, shape: list[int]) -> None:
        tensor = {"name": "image", "shape": shape, "datatype": "BYTES"}
        request = document({"inputs": [{**tensor, "data": list(map(base64_of, (FIRST, SECOND)))}]})
        assert [image.data for image in request.images] == [FIRST, SECOND]
        assert (request.is_list, request.outputs) == (True, ("open-inference",))

    def test_elements_of_a_raw_tensor(self) -> None:
        raw = b"".join(len(file).to_bytes(4, "little") + file for file in (FIRST, SECOND))
        parameters = {"binary_data_size": len(raw)}
        tensor = {"name": "i", "shape": [2], "datatype": "BYTES", "parameters": parameters}
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = {INFERENCE_HEADER_LENGTH.lower(): str(len(head))}
        request = form({"body": head + raw}, headers)
        assert [image.data for image in request.images] == [FIRST, SECOND]

    def test_pixels_of_several_images(self) -> None:
        pixels = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
        tensor = {"name": "image", "shape": list(pixels.shape), "datatype": "UINT8"}
        request = document({"inputs": [{**tensor, "data": pixels.ravel().tolist()}]})
        for image, expected in zip(request.images, pixels, strict=True):
            np.testing.assert_array_equal(image.data, expected)

    def test_too_many(self) -> None:
        instances = [{"b64": base64_of(FIRST)}] * (MAX_IMAGES + 1)
        assert len(document({"instances": instances[1:]}).images) == MAX_IMAGES
        assert json_code_of({"instances": instances}) == (413, "too_many_images")
        parts = {f"image{index}": FIRST for index in range(MAX_IMAGES + 1)}
        assert code_of(parts) == (413, "too_many_images")

    def test_more_parts_than_are_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not one of their names is looked up."""
        monkeypatch.delattr("serving.request.names.difflib")
        parts = {f"part{index}": b"" for index in range(MAX_PARTS + 1)}
        assert code_of(parts) == (400, "one_image_per_request")


class TestNames:
    def test_without_any(self) -> None:
        assert names(body()) == ["image"]
        assert names(form({"image0": FIRST, "image1": SECOND})) == ["image0", "image1"]
        assert names(document({"instances": [base64_of(FIRST)] * 2})) == ["image0", "image1"]

    def test_of_one_image(self) -> None:
        assert names(form({"image": FIRST, "name": b"street/a.jpg"})) == ["street/a.jpg"]
        assert names(document({"image": base64_of(FIRST), "name": "a.jpg"})) == ["a.jpg"]
        assert names(body(x_segmenter_name="Stra%C3%9Fe%20100%25.jpg")) == ["Stra\xdfe 100%.jpg"]

    def test_of_several(self) -> None:
        parts = {"image0": FIRST, "image1": SECOND, "name1": b"b.jpg"}
        assert names(form(parts)) == ["image0", "b.jpg"]
        instances = [base64_of(FIRST)] * 2
        request = document({"instances": instances, "name": ["a.jpg", None]})
        assert names(request) == ["a.jpg", "image1"]

    def test_the_option_of_one_image_beside_several(self) -> None:
        parts = {"image0": FIRST, "image1": SECOND}
        assert code_of({**parts, "name": b"a.jpg"}) == (400, "invalid_name")
        assert code_of(parts, {**FORM, "x-segmenter-name": "a.jpg"}) == (400, "invalid_name")
        assert names(form({**parts, "name": b" "})) == ["image0", "image1"]

    def test_of_the_parts_file_where_the_engine_shows_it(self) -> None:
        filenames = {"image": r"C:\photos\a.jpg"}
        assert names(form({"image": FIRST}, filenames=filenames)) == ["a.jpg"]
        assert names(form({"image": FIRST, "name": b"b.jpg"}, filenames=filenames)) == ["b.jpg"]
        filenames = {"image0": "../../a.jpg", "image1": ".."}
        request = form({"image0": FIRST, "image1": FIRST}, filenames=filenames)
        assert names(request) == ["a.jpg", "image1"]

    @pytest.mark.parametrize(
        "name",
        ["/etc/passwd", "../a.jpg", "a/../b", "a//b", "C:\\a.jpg", "a\nb", "a" * 256, 7, {}, ["a"]],
    )
    def test_refused(self, name: object) -> None:
        content = {"instances": [base64_of(FIRST)] * 2, "name": [name, "b.jpg"]}
        assert json_code_of(content) == (400, "invalid_name")

    @pytest.mark.parametrize("name", ["a.jpg", ["a.jpg"], ["a.jpg"] * 3])
    def test_as_many_as_images(self, name: object) -> None:
        content = {"instances": [base64_of(FIRST)] * 2, "name": name}
        assert json_code_of(content) == (400, "invalid_name")


class TestOutputs:
    @pytest.mark.parametrize(
        "value", ["mask,overlay,json", "mask, overlay ,json", "mask,overlay,json,mask"]
    )
    def test_several_names(self, value: str) -> None:
        expected = ("mask", "overlay", "json")
        assert form({"image": FIRST, "output": value.encode()}).outputs == expected
        assert body(x_segmenter_output=value).outputs == expected
        assert document({"image": base64_of(FIRST), "output": value.split(",")}).outputs == expected

    @pytest.mark.parametrize(
        ("accept", "outputs", "is_zip"),
        [
            ("application/zip", ("mask",), True),
            ("application/zip, image/png, application/json", ("mask", "json"), True),
            ("image/jpeg, application/zip;q=0.5", ("overlay",), False),
            ("application/json;q=0.5, application/zip", ("json",), True),
            ("*/*, application/zip", ("mask",), True),
            ("application/zip, image/png;q=0", ("overlay",), True),
            ("application/zip, image/*;q=0", ("json",), True),
            ("application/zip, image/png;q=0, application/json", ("json",), True),
            ("application/zip, */*;q=0", ("mask",), True),
            ("*/*", ("mask",), False),
        ],
    )
    def test_by_accept(self, accept: str, outputs: tuple[str, ...], is_zip: bool) -> None:
        request = body(accept=accept)
        assert (request.outputs, request.is_zip) == (outputs, is_zip)

    def test_an_archive_in_which_no_type_is_accepted(self) -> None:
        refused = ", ".join(f"{media_type};q=0" for media_type in set(MEDIA_TYPES.values()))
        accept = {"content-type": "image/jpeg", "accept": f"application/zip, {refused}"}
        assert code_of({"body": FIRST}, accept) == (406, "not_acceptable")

    def test_accept_names_the_container_and_output_the_content(self) -> None:
        request = body(accept="application/zip", x_segmenter_output="coco")
        assert (request.outputs, request.is_zip) == (("coco",), True)

    @pytest.mark.parametrize("output", ["mask,kserve", "legacy,json"])
    def test_what_is_no_file_is_refused(self, output: str) -> None:
        assert code_of({"image": FIRST, "output": output.encode()}) == (400, "not_a_file_format")

    @pytest.mark.parametrize("output", ["mask,", ",", "mask,picture"])
    def test_unknown_names(self, output: str) -> None:
        assert code_of({"image": FIRST, "output": output.encode()}) == (400, "unknown_output")

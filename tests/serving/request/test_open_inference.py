from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import RequestError
from serving.request.open_inference import (
    open_inference_images,
    read_tensor_options,
    split_binary,
)
from serving.request.parse import parse_request
from serving.types import HttpRequest, ImageFile, SegmentationRequest, TensorOptions
from serving.wire import INFERENCE_HEADER_LENGTH

PHOTO = b"\xff\xd8\xff\xe0photo"
ELEMENT = len(PHOTO).to_bytes(4, "little") + PHOTO
LABELS = ("road", "car")


def read_request(parts: dict[str, bytearray], headers: dict[str, str]) -> SegmentationRequest:
    request = parse_request(HttpRequest("id", headers, parts), LABELS)
    assert isinstance(request, SegmentationRequest)
    return request


def document(**more: object) -> dict[str, object]:
    parameters = {"binary_data_size": len(ELEMENT)}
    tensor = {"name": "i", "shape": [1], "datatype": "BYTES", "parameters": parameters}
    return {"inputs": [tensor], **more}


def images_in(body: bytes, header_length: str) -> Sequence[Any]:
    document, raw = split_binary(body, header_length)
    assert isinstance(document, dict)
    return open_inference_images(document, raw)


def code_of(call: object, *arguments: object) -> str:
    with pytest.raises(RequestError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert caught.value.status == 400
    assert caught.value.message.isascii()
    return caught.value.code


class TestBinary:
    def test_json_then_tensor(self) -> None:
        head = json.dumps(document(id="x")).encode()
        headers = {
            INFERENCE_HEADER_LENGTH.lower(): str(len(head)),
            "content-type": "application/octet-stream",
        }
        request = read_request({"body": bytearray(head + ELEMENT)}, headers)
        assert (request.images, request.tensors.id) == ((ImageFile(PHOTO),), "x")
        assert request.outputs == ("open-inference",)

    def test_json_alone(self) -> None:
        tensor = {"datatype": "BYTES", "data": [base64.b64encode(PHOTO).decode()]}
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = {INFERENCE_HEADER_LENGTH.lower(): str(len(head))}
        assert read_request({"body": bytearray(head)}, headers).images == (ImageFile(PHOTO),)

    @pytest.mark.parametrize("length", ["", "-1", "x", "9" * 12, "\u0663", "1000"])
    def test_a_length_that_is_none(self, length: str) -> None:
        assert code_of(images_in, b"{}", length) == "invalid_inference_request"

    @pytest.mark.parametrize(
        "element",
        [PHOTO, ELEMENT[:-1], ELEMENT + b"x", ELEMENT + ELEMENT, b"\xff\xff\xff\xff" + PHOTO],
    )
    def test_a_tensor_of_another_size(self, element: bytes) -> None:
        head = json.dumps(document()).encode()
        code = code_of(images_in, head + element, str(len(head)))
        assert code == "invalid_inference_request"

    @given(st.binary(max_size=60), st.integers(0, 70).map(str) | st.text(max_size=4))
    def test_any_bytes(self, body: bytes, length: str) -> None:
        with suppress(RequestError):
            images_in(body, length)


class TestTensors:
    def test_the_mask_unless_named(self) -> None:
        assert read_tensor_options({}) == TensorOptions()
        assert read_tensor_options({"outputs": [], "id": None}) == TensorOptions()

    def test_names_in_their_order_each_once(self) -> None:
        outputs = [{"name": "confidence"}, {"name": "mask"}, {"name": "confidence"}]
        assert read_tensor_options({"outputs": outputs}).names == ("confidence", "mask")

    def test_binary_for_all_or_for_one(self) -> None:
        outputs = [{"name": "mask", "parameters": {"binary_data": False}}, {"name": "confidence"}]
        asked = {"outputs": outputs, "parameters": {"binary_data_output": True}}
        assert read_tensor_options(asked).binary == {"confidence"}
        assert read_tensor_options({"parameters": {"binary_data_output": True}}).binary == {"mask"}
        assert read_tensor_options({"outputs": outputs}).binary == frozenset()

    @pytest.mark.parametrize("name", ["masks", None, 1, ["mask"], "\u00e9"])
    def test_an_unknown_one(self, name: object) -> None:
        assert code_of(read_tensor_options, {"outputs": [{"name": name}]}) == "unknown_tensor"

    @pytest.mark.parametrize("outputs", ["mask", {"name": "mask"}, ["mask"], 1])
    def test_no_list_of_outputs(self, outputs: object) -> None:
        assert code_of(read_tensor_options, {"outputs": outputs}) == "invalid_inference_request"

    @pytest.mark.parametrize("value", [7, ["7"], "x" * 257])
    def test_no_id(self, value: object) -> None:
        assert code_of(read_tensor_options, {"id": value}) == "invalid_inference_request"


class TestProtocol:
    BASE64 = base64.b64encode(PHOTO).decode()
    V1 = {"instances": [{"b64": BASE64}]}  # noqa: RUF012
    V2 = {"inputs": [{"datatype": "BYTES", "data": [BASE64]}]}  # noqa: RUF012
    HF = {"inputs": BASE64}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("body", "output"), [(V1, "kserve"), (V2, "open-inference"), (HF, "huggingface")]
    )
    @pytest.mark.parametrize(
        ("accept", "named", "expected"),
        [
            (None, None, None),
            ("*/*", None, None),
            ("application/json", None, None),
            ("image/png", None, "mask"),
            ("application/geo+json, */*", None, "geojson"),
            ("*/*", "json", "json"),
            ("application/json", "coco", "coco"),
        ],
    )
    def test_response_is_in_its_own_form_unless_another_is_named(
        self,
        body: dict[str, object],
        output: str,
        accept: str | None,
        named: str | None,
        expected: str | None,
    ) -> None:
        headers = {"content-type": "application/json", **({"accept": accept} if accept else {})}
        document = {**body, **({"output": named} if named else {})}
        row = {"body": bytearray(json.dumps(document).encode())}
        request = read_request(row, headers)
        assert request.images == (ImageFile(PHOTO),)
        assert request.outputs == (expected or output,)


PIXELS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)


class TestPixels:
    @pytest.mark.parametrize("shape", [[1, 2, 4, 3], [2, 4, 3]])
    @pytest.mark.parametrize("is_raw", [True, False])
    def test_height_width_and_three_channels(self, shape: list[int], is_raw: bool) -> None:
        tensor = {"name": "i", "shape": shape, "datatype": "UINT8"}
        assert np.array_equal(self.image_of(tensor, PIXELS.tobytes(), is_raw), PIXELS)

    @pytest.mark.parametrize("shape", [[9], [1, 9]])
    @pytest.mark.parametrize("is_raw", [True, False])
    def test_a_file_as_a_vector(self, shape: list[int], is_raw: bool) -> None:
        tensor = {"name": "i", "shape": shape, "datatype": "UINT8"}
        assert self.image_of(tensor, PHOTO, is_raw) == PHOTO

    def test_nested_lists(self) -> None:
        tensor = {"shape": [1, 2, 4, 3], "datatype": "UINT8", "data": PIXELS[None].tolist()}
        head = json.dumps({"inputs": [tensor]}).encode()
        (pixels,) = images_in(head, str(len(head)))
        assert np.array_equal(pixels, PIXELS)

    @pytest.mark.parametrize(
        ("shape", "reason"),
        [
            ([1, 2, 5, 3], "has 30 values, and 24 were sent"),
            ([1, 3, 2, 4], "Pixels are [N, height, width, 3]"),
            ([2, 4, 3, 1], "Pixels are [N, height, width, 3]"),
            ([2, 12], "Pixels are [N, height, width, 3]"),
            ([], "not a list of its sides"),
            ([-1, -24], "not a list of its sides"),
            ([2.0, 12], "not a list of its sides"),
            (24, "not a list of its sides"),
            ([[2, 4], 3], "the tensor's shape is [a list, 3], not a list of its sides"),
            ([10**4000 - 1] * 8, f"is {'9' * 60}..., above 2147483648"),
            ([2**31 + 1, 1], "a side of the tensor's shape is 2147483649, above 2147483648"),
            ([2**31] * 8, f"has {2 ** (31 * 8)} values, and 24 were sent"),
            (None, "not a list of its sides"),
        ],
    )
    def test_another_shape_is_named(self, shape: object, reason: str) -> None:
        for is_raw in (True, False):
            with pytest.raises(RequestError) as caught:
                self.image_of({"shape": shape, "datatype": "UINT8"}, PIXELS.tobytes(), is_raw)
            assert (caught.value.status, caught.value.code) == (400, "invalid_inference_request")
            assert reason in caught.value.message

    @pytest.mark.parametrize("datatype", ["FP32", "INT64", None, "uint8"])
    def test_another_datatype_is_named(self, datatype: object) -> None:
        with pytest.raises(RequestError) as caught:
            self.image_of({"shape": [24], "datatype": datatype}, PIXELS.tobytes(), False)
        assert repr(datatype) in caught.value.message

    def test_no_pixels(self) -> None:
        tensor = {"shape": [1, 0, 4, 3], "datatype": "UINT8"}
        assert code_of(self.image_of, tensor, b"", False) == "invalid_inference_request"
        assert code_of(self.image_of, tensor, PHOTO, False) == "invalid_inference_request"

    def test_a_size_that_is_not_that_of_the_bytes(self) -> None:
        tensor = {"shape": [24], "datatype": "UINT8", "parameters": {"binary_data_size": 23}}
        head = json.dumps({"inputs": [tensor]}).encode()
        code = code_of(images_in, head + PIXELS.tobytes(), str(len(head)))
        assert code == "invalid_inference_request"

    def image_of(self, tensor: Mapping[str, object], data: bytes, is_raw: bool) -> Any:
        if is_raw:
            tensor = {**tensor, "parameters": {"binary_data_size": len(data)}}
        else:
            tensor = {**tensor, "data": list(data)}
        head = json.dumps({"inputs": [tensor]}).encode()
        (image,) = images_in(head + (data if is_raw else b""), str(len(head)))
        return image

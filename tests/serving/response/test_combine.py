"""Several images and several formats in one response, and archives that are always the same."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from model.preset import Preset
from serving.errors import RequestError, client_error
from serving.formats import FORMATS
from serving.response.archive import Entry, zip_archive
from serving.response.combine import ImageResponse, combine, encode_outputs, unique_names
from serving.response.encode import encode
from serving.response.encoder_input import EncoderInput
from serving.types import (
    ImageFile,
    ModelInfo,
    Response,
    Segmentation,
    SegmentationRequest,
    TensorOptions,
)
from serving.wire import INFERENCE_HEADER_LENGTH

FILES = tuple(name for name, output in FORMATS.items() if output.suffix is not None)

BROKEN = client_error(RequestError(400, "image_corrupt", "The PNG file is damaged."))


@pytest.fixture
def contents(preset: Preset, info: ModelInfo) -> list[EncoderInput]:
    """Two photos of one size, and one of another."""
    return [content(preset, info, size, seed) for seed, size in enumerate([(6, 8)] * 2 + [(5, 9)])]


def content(preset: Preset, info: ModelInfo, size: tuple[int, int], seed: int) -> EncoderInput:
    rng = np.random.default_rng(seed)
    segmentation = Segmentation(
        rng.integers(0, 3, size).astype(np.uint8),
        rng.integers(0, 256, size).astype(np.uint8),
        Image.new("RGB", size[::-1], "gray"),
    )
    return EncoderInput(segmentation, preset, info, f"{seed}.jpg")


def request_for(*outputs: str, is_list: bool = False, is_zip: bool = False) -> SegmentationRequest:
    return SegmentationRequest((ImageFile(b""),), outputs, is_list=is_list, is_zip=is_zip)


def respond(request: SegmentationRequest, *images: EncoderInput | str) -> Response:
    """The response to images, of which a name stands for one that failed."""
    return combine(
        request,
        [
            ImageResponse(image, error=BROKEN)
            if isinstance(image, str)
            else ImageResponse(image.name, image, encode_outputs(request, image))
            for image in images
        ],
    )


def files_in(response: Response) -> dict[str, bytes]:
    assert response.content_type == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.body)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("output", FORMATS)
def test_one_image_in_one_format_is_its_response(output: str, contents: list[EncoderInput]) -> None:
    assert respond(request_for(output), contents[0]) == encode(output, contents[0])


def test_one_image_that_failed_is_its_error() -> None:
    assert respond(request_for("mask"), "a.jpg") is BROKEN
    assert respond(request_for("mask", "json"), "a.jpg") is BROKEN


def test_several_formats_are_files_of_one_archive(contents: list[EncoderInput]) -> None:
    files = files_in(respond(request_for(*FILES), contents[0]))
    assert files == {
        "0.jpg" + str(FORMATS[output].suffix): encode(output, contents[0]).body for output in FILES
    }


def test_one_format_in_an_archive_where_accept_asks_for_it(contents: list[EncoderInput]) -> None:
    files = files_in(respond(request_for("mask", is_zip=True), contents[0]))
    assert files == {"0.jpg.mask.png": encode("mask", contents[0]).body}


def test_json_of_several_images_is_a_list(contents: list[EncoderInput]) -> None:
    response = respond(request_for("json", is_list=True), contents[0], "b.jpg", contents[2])
    bodies = [encode("json", contents[0]).body, BROKEN.body, encode("json", contents[2]).body]
    assert response.content_type == "application/json"
    assert response.body == b"[" + b",".join(bodies) + b"]"
    assert json.loads(response.body)[1]["error"]["code"] == "image_corrupt"


def test_a_list_of_one_stays_a_list(contents: list[EncoderInput]) -> None:
    response = respond(request_for("geojson", is_list=True), contents[0])
    assert json.loads(response.body) == [json.loads(encode("geojson", contents[0]).body)]


def test_pictures_of_several_images_are_an_archive(contents: list[EncoderInput]) -> None:
    files = files_in(respond(request_for("mask", is_list=True), contents[0], "b.jpg"))
    assert files == {
        "0.jpg.mask.png": encode("mask", contents[0]).body,
        "b.jpg.error.json": BROKEN.body,
    }


def test_kserve_has_an_error_in_place_of_a_prediction(contents: list[EncoderInput]) -> None:
    response = respond(request_for("kserve", is_list=True), contents[0], "b.jpg", contents[2])
    first, failed, last = json.loads(response.body)["predictions"]
    alone = [json.loads(encode("kserve", image).body)["predictions"] for image in contents]
    assert [first] == alone[0]
    assert failed == {"error": "image_corrupt: The PNG file is damaged."}
    assert [last] == alone[2]


def test_open_inference_stacks_images_of_one_size(contents: list[EncoderInput]) -> None:
    response = respond(request_for("open-inference", is_list=True), *contents[:2])
    (tensor,) = json.loads(response.body)["outputs"]
    assert (tensor["name"], tensor["shape"]) == ("mask", [2, 6, 8])
    masks = np.array(tensor["data"]).reshape(tensor["shape"])
    np.testing.assert_array_equal(masks, [image.mask for image in contents[:2]])


def test_open_inference_has_a_tensor_for_each_of_several_sizes(
    preset: Preset, info: ModelInfo
) -> None:
    tensors = TensorOptions(names=("mask", "confidence"), binary=frozenset({"mask", "confidence"}))
    request = SegmentationRequest(
        (ImageFile(b""),), ("open-inference",), tensors=tensors, is_list=True
    )
    small, large = (
        EncoderInput(content(preset, info, size, 1).segmentation, preset, info, tensors=tensors)
        for size in ((2, 3), (4, 5))
    )
    response = respond(request, small, large)
    length = int(response.headers[INFERENCE_HEADER_LENGTH])
    outputs = json.loads(response.body[:length])["outputs"]
    assert [(tensor["name"], tensor["shape"]) for tensor in outputs] == [
        ("mask_0", [1, 2, 3]),
        ("mask_1", [1, 4, 5]),
        ("confidence_0", [1, 2, 3]),
        ("confidence_1", [1, 4, 5]),
    ]
    arrays = [small.mask, large.mask, small.confidence, large.confidence]
    assert response.body[length:] == b"".join(array.tobytes() for array in arrays)


def test_open_inference_fails_whole(contents: list[EncoderInput]) -> None:
    response = respond(request_for("open-inference", is_list=True), contents[0], "b.jpg")
    assert response.status == 400
    error = json.loads(response.body)["error"]
    assert (error["code"], error["image"]) == ("image_corrupt", 2)
    assert error["message"] == "Image 2 of 2: The PNG file is damaged."


def test_an_archive_depends_on_its_files_alone(contents: list[EncoderInput]) -> None:
    request = request_for(*FILES)
    assert respond(request, contents[0]).body == respond(request, contents[0]).body
    archive = zip_archive([Entry("a.png", "image/png", b"x" * 99), Entry("a.json", "", b"x" * 99)])
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        picture, text = file.infolist()
    assert picture.date_time == text.date_time == (1980, 1, 1, 0, 0, 0)
    assert picture.compress_size == 99
    assert text.compress_size < 99


def test_equal_names_are_numbered() -> None:
    assert unique_names(["a.jpg", "b", "A.jpg", "a.jpg"], [".json"]) == [
        "a.jpg",
        "b",
        "A.jpg.2",
        "a.jpg.3",
    ]


def test_files_of_different_names_do_not_clash() -> None:
    """a.coco.json is the COCO file of a, and the JSON file of a.coco."""
    assert unique_names(["a", "a.coco"], [".json", ".coco.json"]) == ["a", "a.coco.2"]

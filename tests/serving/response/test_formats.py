"""Every form of response that holds the whole mask gives it back to its consumer's own decoder."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from model.preset import Preset
from serving.errors import RequestError
from serving.formats import FORMATS
from serving.label_map import void_id
from serving.response.encode import encode
from serving.response.encoder_input import EncoderInput
from serving.runtime.stages import select
from serving.types import ModelInfo, Options, Segmentation, TensorOptions
from serving.wire import INFERENCE_HEADER_LENGTH
from tests.consumers import READERS

# pycocotools' decode predates NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (37, 52)


@pytest.fixture(params=["background", "no background"])
def any_preset(request: pytest.FixtureRequest, preset: Preset) -> Preset:
    if request.param == "background":
        return preset
    return replace(preset, labels=('sky "blue"', "r\u00f6ad", "car"))


@pytest.fixture
def segmentation() -> Segmentation:
    """Blobs of three classes, of which one touches itself by corners, and every grey level."""
    rng = np.random.default_rng(5)
    mask = np.kron(rng.integers(0, 3, (10, 13)), np.ones((4, 4), int))[: SIZE[0]]
    mask[5:9, 5:9] = np.eye(4, dtype=int)
    return Segmentation(mask.astype(np.uint8), rng.integers(0, 256, SIZE).astype(np.uint8), None)


@pytest.mark.parametrize("output", READERS)
@pytest.mark.parametrize(
    "options",
    [Options(), Options(frozenset({1, 2})), Options(threshold=0.5), Options(frozenset({2}), 0.9)],
    ids=["all", "two-classes", "threshold", "both"],
)
def test_round_trip(
    output: str,
    options: Options,
    any_preset: Preset,
    segmentation: Segmentation,
    info: ModelInfo,
) -> None:
    selected = select(segmentation, options, void_id(any_preset.labels))
    response = encode(output, EncoderInput(selected, any_preset, info))
    assert response.content_type == FORMATS[output].media_type
    read = READERS[output](response.body, any_preset, SIZE)
    np.testing.assert_array_equal(read, selected.mask)


@pytest.mark.parametrize("output", READERS)
def test_nothing_but_void(output: str, preset: Preset, info: ModelInfo) -> None:
    void = Segmentation(np.zeros((3, 4), np.uint8), np.zeros((3, 4), np.uint8), None)
    response = encode(output, EncoderInput(void, preset, info))
    assert not READERS[output](response.body, preset, (3, 4)).any()


@pytest.mark.parametrize("output", ["coco", "labelstudio", "cvat"])
def test_annotations_are_of_classes_not_of_void(
    output: str, any_preset: Preset, segmentation: Segmentation, info: ModelInfo
) -> None:
    void = void_id(any_preset.labels)
    selected = select(segmentation, Options(frozenset({2})), void)
    response = json.loads(encode(output, EncoderInput(selected, any_preset, info)).body)
    if output == "coco":
        assert [entry["category_id"] for entry in response["annotations"]] == [3]
        categories = [entry["id"] for entry in response["categories"]]
        assert categories == [index + 1 for index in range(3) if index != void]
    elif output == "labelstudio":
        assert [region["value"]["brushlabels"] for region in response["result"]] == [["car"]]
    else:
        assert [shape["label"] for shape in response] == ["car"]


def test_open_inference_binary(preset: Preset, segmentation: Segmentation, info: ModelInfo) -> None:
    tensors = TensorOptions(
        "7",
        (
            "confidence",
            "mask",
        ),
        frozenset({"mask"}),
    )
    response = encode("open-inference", EncoderInput(segmentation, preset, info, tensors=tensors))
    assert response.content_type == "application/octet-stream"
    length = int(response.headers[INFERENCE_HEADER_LENGTH])
    document = json.loads(response.body[:length])
    in_json, in_binary = document["outputs"]
    assert document["id"] == "7"
    assert in_json["data"] == segmentation.confidence.ravel().tolist()  # type: ignore[union-attr]
    assert in_binary["parameters"] == {"binary_data_size": segmentation.mask.size}
    assert "data" not in in_binary
    assert response.body[length:] == segmentation.mask.tobytes()


def test_open_inference_of_many_classes(preset: Preset, info: ModelInfo) -> None:
    mask = np.array([[0, 300]], np.int32)
    many = replace(preset, labels=tuple(map(str, range(301))), palette=((0, 0, 0),) * 301)
    for binary, expected in ((frozenset[str](), [0, 300]), (frozenset({"mask"}), None)):
        segmentation, tensors = Segmentation(mask, None, None), TensorOptions(binary=binary)
        response = encode("open-inference", EncoderInput(segmentation, many, info, tensors=tensors))
        (tensor,) = json.loads(response.body[: response.body.rindex(b"]") + 2])["outputs"]
        assert tensor["datatype"] == "INT32"
        assert tensor.get("data") == expected
    assert response.body.endswith((0).to_bytes(4, "little") + (300).to_bytes(4, "little"))


def test_boxes_that_overlap_are_bounded(preset: Preset, info: ModelInfo) -> None:
    """Specks of two classes in opposite corners: 8 megapixels of boxes, and 17."""
    for side, is_within in ((2000, True), (2900, False)):
        mask = np.zeros((side, side), np.uint8)
        mask[:2, :2] = mask[-2:, -2:] = [[1, 2], [2, 1]]
        found = Segmentation(mask, np.zeros_like(mask), None)
        content = EncoderInput(found, preset, info)
        if is_within:
            read = READERS["cvat"](encode("cvat", content).body, preset, mask.shape)
            np.testing.assert_array_equal(read, mask)
        else:
            with pytest.raises(RequestError, match="cvat is limited to 16000000 pixels") as caught:
                encode("cvat", content)
            assert (caught.value.status, caught.value.code) == (413, "answer_too_large")


def test_scores_are_mean_confidences(
    preset: Preset, segmentation: Segmentation, info: ModelInfo
) -> None:
    assert segmentation.confidence is not None
    expected = {
        label: segmentation.confidence[segmentation.mask == index].mean() / 255
        for index, label in enumerate(preset.labels)
    }
    entries = json.loads(encode("huggingface", EncoderInput(segmentation, preset, info)).body)
    assert {entry["label"]: entry["score"] for entry in entries} == pytest.approx(expected)
    shapes = json.loads(encode("cvat", EncoderInput(segmentation, preset, info)).body)
    assert {shape["label"] for shape in shapes} == {"road", "car"}
    for shape in shapes:
        assert float(shape["confidence"]) == pytest.approx(expected[shape["label"]], abs=1e-4)

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model.preset import Preset
from serving.errors import RequestError
from serving.formats import (
    FORMATS,
    MEDIA_TYPES,
    check_response_size,
    needs_confidence,
    needs_original,
)
from serving.response.encode import ENCODERS, encode
from serving.response.encoder_input import EncoderInput
from serving.types import (
    ImageFile,
    ModelInfo,
    Options,
    Response,
    Segmentation,
    SegmentationRequest,
    TensorOptions,
)

MASK = np.array([[0, 0, 0, 1], [0, 0, 2, 1], [0, 0, 2, 2]], dtype=np.uint8)
CONFIDENCE = np.full(MASK.shape, 255, dtype=np.uint8)
CONFIDENCE[MASK == 2] = 51


def requested(output: str) -> SegmentationRequest:
    return SegmentationRequest((ImageFile(b""),), (output,))


def segmentation(request: SegmentationRequest) -> Segmentation:
    """What the pipeline computes for an output: no more than it says that it needs."""
    return Segmentation(
        MASK,
        CONFIDENCE if needs_confidence(request) else None,
        Image.new("RGB", (4, 3), "white") if needs_original(request) else None,
    )


def response_in(output: str, preset: Preset, info: ModelInfo) -> Response:
    return encode(output, EncoderInput(segmentation(requested(output)), preset, info))


def test_every_format_has_its_encoder() -> None:
    assert list(ENCODERS) == list(FORMATS)


def test_suffixes_are_unique() -> None:
    suffixes = [entry.suffix for entry in FORMATS.values() if entry.suffix]
    assert len(set(suffixes)) == len(suffixes)


@pytest.mark.parametrize("output", FORMATS)
def test_each_is_made_of_what_it_needs(output: str, preset: Preset, info: ModelInfo) -> None:
    response = response_in(output, preset, info)
    assert (response.status, response.content_type) == (200, MEDIA_TYPES[output])
    assert response.body


@pytest.mark.parametrize("output", [n for n, entry in FORMATS.items() if entry.needs_confidence])
def test_the_confidence_is_not_made_up(output: str, preset: Preset, info: ModelInfo) -> None:
    with pytest.raises(ValueError, match="confidence"):
        encode(output, EncoderInput(Segmentation(MASK, None, None), preset, info))


def test_a_threshold_and_a_tensor_need_the_confidence_too() -> None:
    assert not needs_confidence(requested("mask"))
    assert needs_confidence(replace(requested("mask"), options=Options(threshold=0.1)))
    tensors = TensorOptions(names=("mask", "confidence"))
    assert needs_confidence(replace(requested("open-inference"), tensors=tensors))


def test_text_for_every_pixel_has_a_limit() -> None:
    for output, form in FORMATS.items():
        request = requested(output)
        check_response_size(request, 4_000_000)
        if form.max_pixels is None:
            check_response_size(request, 50_000_000)
            continue
        with pytest.raises(RequestError) as caught:
            check_response_size(request, 50_000_000)
        assert (caught.value.status, caught.value.code) == (413, "answer_too_large")
        assert "50000000" in caught.value.message
    binary = TensorOptions(binary=frozenset({"mask"}))
    check_response_size(replace(requested("open-inference"), tensors=binary), 50_000_000)


def test_media_types_are_the_contracts() -> None:
    assert MEDIA_TYPES == {
        "mask": "image/png",
        "overlay": "image/jpeg",
        "json": "application/json",
        "confidence": "image/png",
        "npy": "application/x-npy",
        "kserve": "application/json",
        "open-inference": "application/json",
        "huggingface": "application/json",
        "coco": "application/json",
        "coco-polygons": "application/json",
        "geojson": "application/geo+json",
        "labelstudio": "application/json",
        "cvat": "application/json",
        "legacy": "application/json",
    }
    assert next(iter(MEDIA_TYPES)) == "mask"


def test_mask(preset: Preset, info: ModelInfo) -> None:
    image = Image.open(io.BytesIO(response_in("mask", preset, info).body))
    assert (image.format, image.mode, image.size) == ("PNG", "P", (4, 3))
    assert np.array_equal(np.array(image), MASK)
    assert tuple(np.array(image.convert("RGB"))[0, 3]) == preset.palette[1]


def test_overlay(preset: Preset, info: ModelInfo) -> None:
    image = Image.open(io.BytesIO(response_in("overlay", preset, info).body))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (4, 3))


def test_json(preset: Preset, info: ModelInfo) -> None:
    body = json.loads(response_in("json", preset, info).body)
    assert body["size"] == {"width": 4, "height": 3}
    assert body["model"] == {"name": "toy", "version": "1.0", "digest": "sha256:" + "0" * 64}
    assert [entry["label"] for entry in body["classes"]] == ["background", "car", "road"]
    car = body["classes"][1]
    assert (car["id"], car["colour"], car["pixels"]) == (2, [64, 0, 128], 3)
    assert car["bbox"] == [2, 1, 2, 2]
    assert car["confidence"] == pytest.approx(0.2, abs=1e-3)
    assert sum(entry["fraction"] for entry in body["classes"]) == pytest.approx(1, abs=1e-3)
    assert all(entry["rle"]["size"] == [3, 4] for entry in body["classes"])


def test_confidence(preset: Preset, info: ModelInfo) -> None:
    body = response_in("confidence", preset, info).body
    image = Image.open(io.BytesIO(body))
    assert (image.format, image.mode) == ("PNG", "L")
    assert np.array_equal(np.array(image), CONFIDENCE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_npy(preset: Preset, info: ModelInfo, dtype: type[np.integer]) -> None:
    mask: np.ndarray = np.asfortranarray(MASK.astype(dtype))
    response = encode("npy", EncoderInput(Segmentation(mask, None, None), preset, info))
    array = np.load(io.BytesIO(response.body))
    assert array.dtype == dtype
    assert np.array_equal(array, MASK)

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from model.preset import Preset
from serving.info import ModelInfo
from serving.outputs import MEDIA_TYPES, OUTPUTS, encode, needs_confidence, needs_original
from serving.pipeline import Segmentation

MASK = np.array([[0, 0, 0, 1], [0, 0, 2, 1], [0, 0, 2, 2]], dtype=np.uint8)
CONFIDENCE = np.full(MASK.shape, 255, dtype=np.uint8)
CONFIDENCE[MASK == 2] = 51


def segmentation(output: str) -> Segmentation:
    """What the pipeline computes for an output: no more than it says that it needs."""
    return Segmentation(
        MASK,
        CONFIDENCE if needs_confidence(output) else None,
        Image.new("RGB", (4, 3), "white") if needs_original(output) else None,
    )


@pytest.mark.parametrize("output", OUTPUTS)
def test_each_is_made_of_what_it_needs(output: str, preset: Preset, info: ModelInfo) -> None:
    answer = encode(output, segmentation(output), preset, info)
    assert (answer.status, answer.content_type) == (200, MEDIA_TYPES[output])
    assert answer.body


@pytest.mark.parametrize("output", [name for name, form in OUTPUTS.items() if form.confidence])
def test_the_confidence_is_not_made_up(output: str, preset: Preset, info: ModelInfo) -> None:
    with pytest.raises(ValueError, match="confidence"):
        encode(output, Segmentation(MASK, None, None), preset, info)


def test_media_types_are_the_contracts() -> None:
    assert MEDIA_TYPES == {
        "mask": "image/png",
        "overlay": "image/jpeg",
        "json": "application/json",
        "confidence": "image/png",
        "npy": "application/x-npy",
    }
    assert next(iter(MEDIA_TYPES)) == "mask"


def test_mask(preset: Preset, info: ModelInfo) -> None:
    image = Image.open(io.BytesIO(encode("mask", segmentation("mask"), preset, info).body))
    assert (image.format, image.mode, image.size) == ("PNG", "P", (4, 3))
    assert np.array_equal(np.array(image), MASK)
    assert tuple(np.array(image.convert("RGB"))[0, 3]) == preset.palette[1]


def test_overlay(preset: Preset, info: ModelInfo) -> None:
    image = Image.open(io.BytesIO(encode("overlay", segmentation("overlay"), preset, info).body))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (4, 3))


def test_json(preset: Preset, info: ModelInfo) -> None:
    body = json.loads(encode("json", segmentation("json"), preset, info).body)
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
    body = encode("confidence", segmentation("confidence"), preset, info).body
    image = Image.open(io.BytesIO(body))
    assert (image.format, image.mode) == ("PNG", "L")
    assert np.array_equal(np.array(image), CONFIDENCE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_npy(preset: Preset, info: ModelInfo, dtype: type[np.integer]) -> None:
    mask: np.ndarray = np.asfortranarray(MASK.astype(dtype))
    array = np.load(io.BytesIO(encode("npy", Segmentation(mask, None, None), preset, info).body))
    assert array.dtype == dtype
    assert np.array_equal(array, MASK)

"""What the protocols let a client ask of the model is what requests then get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.preset import Preset
from serving.response.encoder_input import EncoderInput
from serving.response.open_inference import infer_response
from serving.response.protocol_documents import model_metadata, model_ready, server_metadata
from serving.types import ModelInfo, Segmentation
from serving.wire import TENSORS


def test_the_model(preset: Preset, info: ModelInfo) -> None:
    metadata = model_metadata(preset, info)
    assert metadata["name"] == server_metadata()["name"] == model_ready()["name"] == "segmenter"
    assert metadata["versions"] == [info.version]
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    outputs = metadata["outputs"]
    assert isinstance(outputs, list)
    assert [output["name"] for output in outputs] == list(TENSORS)


@pytest.mark.parametrize(
    ("num_classes", "label", "datatype"),
    [(3, "road", "UINT8"), (256, "background", "UINT8"), (257, "background", "INT32")],
)
def test_the_masks_type(
    preset: Preset, info: ModelInfo, num_classes: int, label: str, datatype: str
) -> None:
    labels = (label, *(f"class {index}" for index in range(1, num_classes)))
    many = replace(preset, labels=labels, palette=((1, 2, 3),) * num_classes)
    outputs = model_metadata(many, info)["outputs"]
    assert isinstance(outputs, list)
    assert outputs[0] == {"name": "mask", "datatype": datatype, "shape": [-1, -1, -1]}


def test_the_tensors_are_those_of_a_response(preset: Preset, info: ModelInfo) -> None:
    segmentation = Segmentation(np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8), None)
    body = infer_response(EncoderInput(segmentation, preset, info)).body
    assert b'"datatype":"UINT8"' in body.replace(b" ", b"")

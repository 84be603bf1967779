"""A hand-checkable model of three classes, and TorchServe's own side of the worker's socket."""

from __future__ import annotations

from typing import Any

import pytest
from ts.context import Context
from ts.service import Service

from model.preset import Preset
from serving.model_info import ModelInfo


@pytest.fixture
def preset() -> Preset:
    return Preset(
        name="toy",
        description="three classes",
        backbone="resnet18",
        features="layer3",
        output_stride=8,
        atrous_rates=(12, 24, 36),
        short_side=64,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        labels=("background", "road", "car"),
        palette=((0, 0, 0), (128, 64, 128), (64, 0, 128)),
        weights=None,
    )


@pytest.fixture
def info() -> ModelInfo:
    return ModelInfo("toy", "1.0", "sha256:" + "0" * 64)


@pytest.fixture
def torchserve() -> Any:
    """parts, headers -> (row, context) as TorchServe hands them to a handler, for one request.

    A part is (name, content type, value); headers have the client's spelling.
    """

    def receive(
        parts: list[tuple[str, str, object]], headers: dict[str, str]
    ) -> tuple[dict[str, object], Context]:
        request = {
            "requestId": b"5d0e4a4c",
            "headers": [
                {"name": name.encode(), "value": value.encode()} for name, value in headers.items()
            ],
            "parameters": [
                {"name": name, "contentType": content_type, "value": value}
                for name, content_type, value in parts
            ],
        }
        processors, (row,), request_ids = Service.retrieve_data_for_inference([request])
        context = Context("toy", ".", {}, 1, None, "0.12.0")
        context.request_processor = processors
        context.request_ids = request_ids
        return row, context

    return receive

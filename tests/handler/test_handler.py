"""The handler as TorchServe calls it, with TorchServe's own context."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ts.context import Context, RequestProcessor

from handler import SegmentationHandler
from tests.archives import unpacked_archive
from tests.photos import encoded, photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def handler(folder: Path) -> Iterator[SegmentationHandler]:
    handler = SegmentationHandler()
    handler.initialize(context_for([], folder))
    yield handler
    handler.service.close()


def test_a_batch_with_its_statuses_and_headers(handler: SegmentationHandler, folder: Path) -> None:
    rows = [{"body": bytearray(body)} for body in (photo_bytes(), b"no image")]
    context = context_for([{"Accept": "application/x-npy"}, {}], folder)
    bodies = handler.handle(rows, context)
    statuses = [context.get_response_status(index)[0] for index in range(2)]
    assert statuses == [200, 415]
    assert bodies[0].startswith(b"\x93NUMPY")
    assert json.loads(bodies[1])["error"]["code"] == "unsupported_format"
    headers = context.get_response_headers(0)
    assert headers["Model-Version"] == "1.0"
    assert headers["content-type"] == "application/x-npy"


def test_the_model_card_is_for_describe_alone(handler: SegmentationHandler, folder: Path) -> None:
    (card,) = handler.handle([{}], context_for([{"describe": "True"}], folder))
    labels = [entry["label"] for entry in json.loads(card)["classes"]]
    assert labels == list(handler.service.model.preset.labels)

    rows = [{"body": bytearray(photo_bytes())} for _ in range(2)]
    context = context_for([{"describe": "True"}, {}], folder)
    mask, other = handler.handle(rows, context)
    assert mask == other  # a client that sends the header gets a mask like any other
    assert context.get_response_status(0)[0] == 200


def test_an_empty_form_with_the_describe_header_fails_alone(
    handler: SegmentationHandler, folder: Path
) -> None:
    """TorchServe passes an empty form without any part, as it does its own describe request."""
    form = {"Content-Type": "application/x-www-form-urlencoded", "Describe": "True"}
    context = context_for([form, {}], folder)
    refused, mask = handler.handle([{}, {"body": bytearray(photo_bytes())}], context)
    assert context.get_response_status(0)[0] == 400
    assert json.loads(refused)["error"]["code"] in ("image_empty", "image_missing")
    assert context.get_response_status(1)[0] == 200
    assert mask.startswith(b"\x89PNG")


def test_the_model_card_is_signed_like_any_response(
    handler: SegmentationHandler, folder: Path
) -> None:
    context = context_for([{"describe": "True"}], folder)
    handler.handle([{}], context)
    headers = context.get_response_headers(0)
    assert headers["Model-Digest"] == handler.service.model.digest
    assert "Server-Timing" in headers


def test_the_batchs_size_and_time_are_those_configured(folder: Path) -> None:
    context = context_for([{}], folder)
    context.system_properties["batch_size"] = 3
    context.model_yaml_config = {"responseTimeout": 50}
    handler = SegmentationHandler()
    handler.initialize(context)
    assert (handler.service.group_size, handler.service.max_seconds) == (3, 25)
    handler.service.close()


def context_for(headers: Sequence[dict[str, str]], folder: Path) -> Context:
    """TorchServe's own context, filled as its worker fills it."""
    context = Context(
        "segmenter",
        str(folder),
        {"model": {"modelName": "segmenter", "modelVersion": "1.0"}},
        batch_size=8,
        gpu=None,
        mms_version="0.12.0",
    )
    context.model_yaml_config = {}
    context.request_ids = {index: f"id-{index}" for index in range(len(headers))}
    context.request_processor = [RequestProcessor(dict(entry)) for entry in headers]
    return context


def photo_bytes() -> bytes:
    return encoded(photo(64, 96), "PNG")

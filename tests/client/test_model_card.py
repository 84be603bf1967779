"""The model card, as the client reads it."""

from __future__ import annotations

import json

import pytest

from imaging import Limits
from model.preset import Preset, load_preset
from segmenter_client import InvalidResponse, ModelCard, Service
from serving.response.model_card import model_card
from serving.types import ModelInfo
from tests.client.misbehaving_server import ok, serving


@pytest.fixture
def preset() -> Preset:
    return load_preset("street-resnet18")


@pytest.fixture
def card(preset: Preset) -> ModelCard:
    info = ModelInfo(preset.name, "2.0", "sha256:12", "fp32")
    body = json.dumps(model_card(preset, info, Limits(max_bytes=1000))).encode()
    with serving(ok(body)) as server, Service(server.url, token="secret") as service:
        found = service.model()
    (headers,) = server.headers
    assert headers["X-Segmenter-Output"] == "model"
    assert headers["Authorization"] == "Bearer secret"
    return found


def test_it_is_the_services_own(card: ModelCard, preset: Preset) -> None:
    assert (card.name, card.version, card.digest) == (preset.name, "2.0", "sha256:12")
    assert card.precision == "fp32"
    assert [one.label for one in card.classes] == list(preset.labels)
    assert [one.colour for one in card.classes] == list(preset.palette)
    assert card.limits.max_bytes == 1000
    assert card.limits.max_pixels == Limits().max_pixels
    assert "JPEG" in card.limits.formats
    assert card.outputs["overlay"].media_type == "image/jpeg"
    assert card.outputs["legacy"].max_pixels == 4_000_000
    assert card.outputs["mask"].max_pixels is None


def test_values_that_are_no_class_are_void(card: ModelCard) -> None:
    assert card.label(0) == card.classes[0].label
    assert card.label(card.void) == "void"


def test_a_service_that_has_no_card_is_said_to_be_older() -> None:
    error = b'{"error": {"code": "unknown_output", "message": "Unknown output format."}}'
    refused = b"HTTP/1.1 400 -\r\nContent-Length: %d\r\n\r\n%s" % (len(error), error)
    with (
        serving(refused) as server,
        Service(server.url) as service,
        pytest.raises(InvalidResponse, match="older than this client"),
    ):
        service.model()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_something_else_at_the_address(body: bytes) -> None:
    with (
        serving(ok(body)) as server,
        Service(server.url) as service,
        pytest.raises(InvalidResponse, match="not the service's"),
    ):
        service.model()

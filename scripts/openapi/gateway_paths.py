"""The paths that a gateway has beside those of TorchServe: documents, and KServe's questions."""

from __future__ import annotations

from model.preset import Preset
from scripts.openapi.schemas import CARD, TEXT
from serving.response.protocol_documents import (
    SERVER_LIVE,
    SERVER_READY,
    model_metadata,
    model_ready,
    server_metadata,
)
from serving.types import ModelInfo
from serving.wire import JSON, PAGE_MEDIA_TYPE

Json = dict[str, object]

GATEWAY: Json = {"url": "https://localhost:8443", "description": "the gateway, with a token"}

OBJECT: Json = {"type": "object"}
VERSION: Json = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "The archive's, as in Model-Version.",
    "schema": TEXT,
}


def gateway_paths(preset: Preset, info: ModelInfo, card: Json) -> dict[str, Json]:
    """Path -> what GET gives there."""
    metadata = model_metadata(preset, info)
    ready = model_ready()
    model, ready_text = "Open Inference v2: the model's tensors.", "Whether the model is ready."
    return {
        "/": document("home", "The viewer.", {PAGE_MEDIA_TYPE: {"schema": TEXT}}),
        "/model": document("model", "The model card.", json_content(CARD, card)),
        "/openapi.json": document("openapi", "This document.", json_content(OBJECT)),
        "/v1/models/segmenter": document("kserveReady", f"KServe v1: {ready_text}", example(ready)),
        "/v2": document("server", "Open Inference v2: the server.", example(server_metadata())),
        "/v2/health/live": document("live", "Whether nginx runs.", example(SERVER_LIVE)),
        "/v2/health/ready": document(
            "ready", "Whether a prediction succeeds.", example(SERVER_READY)
        ),
        "/v2/models/segmenter": document("metadata", model, example(metadata)),
        "/v2/models/segmenter/ready": document("modelReady", ready_text, example(ready)),
        "/v2/models/segmenter/versions/{version}": {
            **document("versionMetadata", model, example(metadata)),
            "parameters": [VERSION],
        },
        "/v2/models/segmenter/versions/{version}/ready": {
            **document("versionReady", ready_text, example(ready)),
            "parameters": [VERSION],
        },
    }


def document(name: str, summary: str, content: Json) -> Json:
    """A path at which GET gives a document."""
    response = {"description": summary, "content": content}
    get = {"operationId": name, "summary": summary, "responses": {"200": response}}
    return {"servers": [GATEWAY], "get": get}


def example(value: Json) -> Json:
    return json_content(OBJECT, value)


def json_content(schema: Json, value: Json | None = None) -> Json:
    examples = {} if value is None else {"examples": {"document": {"value": value}}}
    return {JSON: {"schema": schema, **examples}}

"""The OpenAPI document as a gateway serves it: of its own addresses alone, and with the token."""

from __future__ import annotations

import json

from scripts.common.terminal import ROOT

DOCUMENT = ROOT / "docs" / "openapi.json"


def gateway_contract() -> str:
    """docs/openapi.json, relative to wherever it is read, without what a gateway does not open."""
    document = json.loads(DOCUMENT.read_text("ascii"))
    document["servers"] = [{"url": "/"}]
    document["security"] = [{"token": []}]
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    del document["paths"]["/models/segmenter"]  # the management API's
    for path in document["paths"].values():
        path.pop("servers", None)
    return json.dumps(document)

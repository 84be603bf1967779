from __future__ import annotations

import json

from imaging import Limits
from model.preset import Preset
from serving.formats import MEDIA_TYPES
from serving.response.model_card import model_card
from serving.types import ModelInfo


def test_it_says_what_a_client_has_to_know(preset: Preset, info: ModelInfo) -> None:
    limits = Limits(max_bytes=1000)
    card = json.loads(json.dumps(model_card(preset, info, limits)))
    assert (card["name"], card["version"], card["digest"]) == (
        info.name,
        info.version,
        info.digest,
    )
    assert card["classes"][1] == {"id": 1, "label": "road", "colour": [128, 64, 128]}
    assert len(card["classes"]) == preset.num_classes
    assert card["input"]["max_bytes"] == 1000
    assert "JPEG" in card["input"]["formats"]
    assert card["preprocessing"]["short_side"] == preset.short_side
    assert card["preprocessing"]["max_aspect"] == 4
    assert [output["name"] for output in card["outputs"]] == [*MEDIA_TYPES, "page", "model"]
    assert card["void"] == 0
    assert {option["name"] for option in card["options"]} == {"classes", "threshold", "name"}
    limits_of = {output["name"]: output.get("max_pixels") for output in card["outputs"]}
    assert (limits_of["mask"], limits_of["legacy"]) == (None, 4_000_000)

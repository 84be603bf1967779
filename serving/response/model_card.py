"""The model card: what a client has to know about the served model, for programs and people."""

from __future__ import annotations

from dataclasses import asdict

from imaging import Limits
from imaging.decode.formats import READ_FORMATS
from imaging.resize import MAX_ASPECT
from model.preset import Preset
from serving import wire
from serving.formats import FORMATS
from serving.label_map import void_id
from serving.types import ModelInfo


def model_card(preset: Preset, info: ModelInfo, limits: Limits) -> dict[str, object]:
    """The served model as JSON-ready values; sizes in pixels unless their name says otherwise."""
    return {
        "name": info.name,
        "version": info.version,
        "digest": info.digest,
        "precision": info.precision,
        "description": preset.description,
        "classes": [
            {"id": index, "label": label, "colour": list(colour)}
            for index, (label, colour) in enumerate(zip(preset.labels, preset.palette))
        ],
        "network": {
            "head": "DeepLabV3",
            "backbone": preset.backbone,
            "features": preset.features,
            "output_stride": preset.output_stride,
            "atrous_rates": list(preset.atrous_rates),
        },
        "preprocessing": {
            "colours": "RGB, upright by EXIF orientation",
            "short_side": preset.short_side,
            "max_aspect": MAX_ASPECT,
            "interpolation": "bilinear, antialiased",
            "scale": 1 / 255,
            "mean": list(preset.mean),
            "std": list(preset.std),
        },
        "input": {
            "formats": list(READ_FORMATS),
            **asdict(limits),
            "images_per_request": wire.MAX_IMAGES,
            "json": list(wire.JSON_SHAPES),
        },
        "void": void_id(preset.labels),
        "options": [
            {"name": name, "header": wire.OPTION_HEADERS[name], "content": content}
            for name, content in wire.OPTION_DESCRIPTIONS.items()
        ],
        "outputs": [
            *(
                {
                    "name": name,
                    "media_type": entry.media_type,
                    "content": entry.content,
                    **({"max_pixels": entry.max_pixels} if entry.max_pixels else {}),
                }
                for name, entry in FORMATS.items()
            ),
            {
                "name": wire.PAGE,
                "media_type": wire.PAGE_MEDIA_TYPE,
                "content": "a viewer, on GET",
            },
            {
                "name": wire.CARD,
                "media_type": wire.JSON,
                "content": "this model card, on GET",
            },
        ],
    }

"""The model card: what a client has to know of the served model, for programs as for people."""

from __future__ import annotations

from dataclasses import asdict

from imaging.decode.decoder import Limits
from imaging.decode.formats import READ_FORMATS
from imaging.resize import MAX_ASPECT
from model.preset import Preset
from serving.formats import OUTPUTS
from serving.label_map import void_id
from serving.model_info import ModelInfo
from serving.request.json_body import SHAPES
from serving.request.options import HEADERS, OPTIONS
from serving.response.viewer import PAGE, PAGE_MEDIA_TYPE


def model_card(preset: Preset, info: ModelInfo, limits: Limits) -> dict[str, object]:
    """The served model as JSON-ready values; sizes in pixels unless their name says otherwise."""
    return {
        "name": info.name,
        "version": info.version,
        "digest": info.digest,
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
            "images_per_request": 1,
            "json": list(SHAPES),
        },
        "void": void_id(preset.labels),
        "options": [
            {
                "name": name,
                "header": HEADERS[name],
                "content": content,
            }
            for name, content in OPTIONS.items()
        ],
        "outputs": [
            *(
                {
                    "name": name,
                    "media_type": form.media_type,
                    "content": form.content,
                    **({"max_pixels": form.max_pixels} if form.max_pixels else {}),
                }
                for name, form in OUTPUTS.items()
            ),
            {"name": PAGE, "media_type": PAGE_MEDIA_TYPE, "content": "a viewer, on GET"},
        ],
    }

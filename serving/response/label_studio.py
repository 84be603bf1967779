"""A Label Studio prediction: the response of an ML backend, and an entry of a task's `predictions`.

https://labelstud.io/guide/predictions
"""

from __future__ import annotations

from imaging.export.brush_rle import brush_rle
from imaging.export.json_arrays import json_bytes
from imaging.export.rle import column_runs
from serving.response.encoder_input import EncoderInput

# The names of the tag and of the image in Label Studio's own template for brush masks.
FROM_NAME, TO_NAME = "tag", "image"


def prediction(content: EncoderInput) -> bytes:
    """One brush region for each class."""
    height, width = content.size
    runs = column_runs(content.mask.T)  # the columns of the transpose are the rows
    objects = content.objects
    regions = []
    for entry in objects:
        is_inside = runs.values == entry["id"]
        regions.append(
            {
                "id": f"class-{entry['id']}",
                "type": "brushlabels",
                "from_name": FROM_NAME,
                "to_name": TO_NAME,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": entry["confidence"],
                "value": {
                    "format": "rle",
                    "rle": brush_rle(
                        runs.starts[is_inside], runs.lengths[is_inside], content.mask.size
                    ),
                    "brushlabels": [entry["label"]],
                },
            }
        )
    pixels = sum(entry["pixels"] for entry in objects)
    confident_pixels = sum(entry["confidence"] * entry["pixels"] for entry in objects)
    return json_bytes(
        {
            "model_version": f"{content.model.name} {content.model.version}",
            "score": confident_pixels / pixels if pixels else 0.0,
            "result": regions,
        }
    )

"""A result as tools for annotation read it: each class an object, void where there is none."""

from __future__ import annotations

import numpy as np

from imaging.export.brush_rle import brush_rle
from imaging.export.coco import coco_dataset
from imaging.export.json_arrays import json_bytes
from imaging.export.polygons import class_polygons, coco_polygons, geojson_feature
from imaging.export.rle import column_runs
from serving.errors import RequestError
from serving.response.result import Result

# Pixels of all classes' boxes together, which CVAT has as text, two bytes each. Boxes overlap: of a
# photo that is full of specks of 20 classes, every box is nearly the whole.
MAX_BOX_PIXELS = 16_000_000

# The names of the tag and of the image in Label Studio's own template for brush masks.
LABEL_STUDIO_FROM, LABEL_STUDIO_TO = "tag", "image"


def coco(result: Result) -> bytes:
    """COCO annotations, the pixels as compressed RLE."""
    objects = result.objects()
    masks = [entry["rle"] for entry in objects]
    return json_bytes(coco_dataset(result.size, _categories(result), objects, masks))


def coco_with_polygons(result: Result) -> bytes:
    """COCO annotations, the pixels as polygons."""
    polygons = class_polygons(result.mask)
    objects = result.objects()
    outlines = [coco_polygons(polygons[entry["id"]]) for entry in objects]
    return json_bytes(coco_dataset(result.size, _categories(result), objects, outlines))


def geojson(result: Result) -> bytes:
    """A FeatureCollection: a feature for each class."""
    polygons = class_polygons(result.mask)
    features = [geojson_feature(entry, polygons[entry["id"]]) for entry in result.objects()]
    return json_bytes({"type": "FeatureCollection", "features": features})


def label_studio(result: Result) -> bytes:
    """A prediction: what an ML backend answers, and what stands in a task's `predictions`.

    https://labelstud.io/guide/predictions
    """
    height, width = result.size
    runs = column_runs(result.mask.T)  # the columns of the transpose are the rows
    objects = result.objects()
    regions = []
    for entry in objects:
        is_inside = runs.values == entry["id"]
        regions.append(
            {
                "id": f"class-{entry['id']}",
                "type": "brushlabels",
                "from_name": LABEL_STUDIO_FROM,
                "to_name": LABEL_STUDIO_TO,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": entry["confidence"],
                "value": {
                    "format": "rle",
                    "rle": brush_rle(
                        runs.starts[is_inside], runs.lengths[is_inside], result.mask.size
                    ),
                    "brushlabels": [entry["label"]],
                },
            }
        )
    pixels = sum(entry["pixels"] for entry in objects)
    certain = sum(entry["confidence"] * entry["pixels"] for entry in objects)
    return json_bytes(
        {
            "model_version": f"{result.info.name} {result.info.version}",
            "score": certain / pixels if pixels else 0.0,
            "result": regions,
        }
    )


def cvat(result: Result) -> bytes:
    """What a CVAT serverless detector returns: the crop to each class's box, then the box.

    https://docs.cvat.ai/docs/manual/advanced/serverless-tutorial/
    Raises RequestError 413 where the boxes are more than MAX_BOX_PIXELS.
    """
    objects = result.objects()
    pixels = sum(width * height for _, _, width, height in (entry["bbox"] for entry in objects))
    if pixels > MAX_BOX_PIXELS:
        raise RequestError(
            413,
            "answer_too_large",
            f"As cvat at most {MAX_BOX_PIXELS} pixels are answered, and the boxes of the classes "
            f"found have {pixels}. Scale the image down, or ask for coco.",
            pixels=pixels,
            max_pixels=MAX_BOX_PIXELS,
        )
    shapes = []
    for entry in objects:
        left, top, width, height = entry["bbox"]
        crop = result.mask[top : top + height, left : left + width] == entry["id"]
        # uint16, or NumPy would make eight bytes of each of the crop's pixels.
        box = np.array([left, top, left + width - 1, top + height - 1], np.uint16)
        shapes.append(
            {
                "confidence": f"{entry['confidence']:.4f}",
                "label": entry["label"],
                "type": "mask",
                "mask": np.append(crop, box),
            }
        )
    return json_bytes(shapes)


def _categories(result: Result) -> dict[int, str]:
    labels = enumerate(result.preset.labels)
    return {index: label for index, label in labels if index != result.legend.void}

"""COCO annotations: each class is one object, void is none."""

from __future__ import annotations

from imaging.export.coco import coco_dataset
from imaging.export.json_arrays import json_bytes
from imaging.export.polygons import class_polygons, coco_polygons
from serving.response.encoder_input import EncoderInput


def coco_rle(content: EncoderInput) -> bytes:
    """COCO annotations with the pixels as compressed RLE."""
    objects = content.objects()
    masks = [entry["rle"] for entry in objects]
    return json_bytes(coco_dataset(content.size, _categories(content), objects, masks))


def coco_outlines(content: EncoderInput) -> bytes:
    """COCO annotations with the pixels as polygons."""
    polygons = class_polygons(content.mask)
    objects = content.objects()
    outlines = [coco_polygons(polygons[entry["id"]]) for entry in objects]
    return json_bytes(coco_dataset(content.size, _categories(content), objects, outlines))


def _categories(content: EncoderInput) -> dict[int, str]:
    labels = enumerate(content.preset.labels)
    return {index: label for index, label in labels if index != content.label_map.void}

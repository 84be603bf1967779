"""COCO annotations: each class is one object, void is none."""

from __future__ import annotations

from collections.abc import Sequence

from imaging.export.coco import coco_dataset
from imaging.export.json_arrays import json_bytes
from imaging.export.polygons import coco_polygons
from imaging.export.rle import CocoRle
from serving.response.encoder_input import EncoderInput


def coco_rle(content: EncoderInput) -> bytes:
    """COCO annotations with the pixels as compressed RLE."""
    return _dataset(content, [entry["rle"] for entry in content.objects])


def coco_outlines(content: EncoderInput) -> bytes:
    """COCO annotations with the pixels as polygons."""
    polygons = content.polygons
    return _dataset(content, [coco_polygons(polygons[entry["id"]]) for entry in content.objects])


def _dataset(content: EncoderInput, segmentations: Sequence[CocoRle | list[list[float]]]) -> bytes:
    labels = {
        class_id: label
        for class_id, label in enumerate(content.preset.labels)
        if class_id != content.label_map.void
    }
    return json_bytes(
        coco_dataset(content.name, content.size, labels, content.objects, segmentations)
    )

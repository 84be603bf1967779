"""Answers read back as their consumers read them: each function returns the mask that it finds.

What tools for annotation read says nothing of void, so there the mask begins full of it.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable

import numpy as np
import shapely
from label_studio_converter.brush import decode_rle
from PIL import Image
from pycocotools import mask as coco_mask

from model.preset import Preset
from serving.label_map import void_id

Size = tuple[int, int]  # (H, W) of the photo


def read_png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def read_coco(body: bytes, preset: Preset, size: Size) -> np.ndarray:
    """By pycocotools, as COCO.annToMask does; polygons too."""
    dataset = json.loads(body)
    (image,) = dataset["images"]
    assert (image["height"], image["width"]) == size
    categories = {category["id"]: category for category in dataset["categories"]}
    mask = np.full(size, void_id(preset.labels))
    for annotation in dataset["annotations"]:
        category = categories[annotation["category_id"]]
        class_id = category["class_id"]
        assert category["id"] == class_id + 1
        assert category["name"] == preset.labels[class_id]
        rle = annotation["segmentation"]
        if isinstance(rle, list):
            rle = coco_mask.merge(coco_mask.frPyObjects(rle, *size))
        mask[coco_mask.decode(rle).astype(bool)] = class_id
    return mask


def read_geojson(body: bytes, preset: Preset, size: Size) -> np.ndarray:
    """By shapely: a pixel is of the polygons in which its centre lies."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    mask = np.full(size, void_id(preset.labels))
    collection = json.loads(body)
    assert collection["type"] == "FeatureCollection"
    for feature in collection["features"]:
        polygons = shapely.geometry.shape(feature["geometry"])
        assert polygons.is_valid, shapely.is_valid_reason(polygons)
        assert feature["properties"]["label"] == preset.labels[feature["id"]]
        mask[shapely.contains_xy(polygons, columns, rows)] = feature["id"]
    return mask


def read_huggingface(body: bytes, preset: Preset, size: Size) -> np.ndarray:
    masks = {
        entry["label"]: read_png(base64.b64decode(entry["mask"])) for entry in json.loads(body)
    }
    mask = np.full(size, void_id(preset.labels))
    for label, binary in masks.items():
        assert set(np.unique(binary)) <= {0, 255}
        mask[binary == 255] = preset.labels.index(label)
    return mask


def read_summary(body: bytes, preset: Preset, size: Size) -> np.ndarray:
    mask = np.zeros(size, int)
    for entry in json.loads(body)["classes"]:
        mask[coco_mask.decode(entry["rle"]).astype(bool)] = entry["id"]
    return mask


def read_kserve(body: bytes, preset: Preset, size: Size) -> np.ndarray:
    (prediction,) = json.loads(body)["predictions"]
    return read_png(base64.b64decode(prediction["mask"]["b64"]))


def read_open_inference(body: bytes, preset: Preset, size: Size) -> np.ndarray:
    (tensor,) = json.loads(body)["outputs"]
    assert (tensor["name"], tensor["datatype"]) == ("mask", "UINT8")
    mask: np.ndarray = np.array(tensor["data"], np.uint8).reshape(tensor["shape"])
    assert len(mask) == 1
    return mask[0]


def read_label_studio(body: bytes, preset: Preset, size: Size) -> np.ndarray:
    """By label-studio-converter's decoder."""
    regions = json.loads(body)["result"]
    mask = np.full(size, void_id(preset.labels))
    for region in regions:
        assert (region["original_height"], region["original_width"]) == size
        (label,) = region["value"]["brushlabels"]
        alpha = decode_rle(region["value"]["rle"]).reshape(*size, 4)[..., 3]
        mask[alpha == 255] = preset.labels.index(label)
    return mask


def read_cvat(body: bytes, preset: Preset, size: Size) -> np.ndarray:
    """As CVAT's lambda manager takes `mask` apart: pixels, then left, top, right, bottom."""
    mask = np.full(size, void_id(preset.labels))
    for shape in json.loads(body):
        *pixels, left, top, right, bottom = shape["mask"]
        crop = np.array(pixels, bool).reshape(bottom - top + 1, right - left + 1)
        mask[top : bottom + 1, left : right + 1][crop] = preset.labels.index(shape["label"])
    return mask


def read_legacy(body: bytes, preset: Preset, size: Size) -> np.ndarray:
    return np.array(json.loads(body))[..., 0]


READERS: dict[str, Callable[[bytes, Preset, Size], np.ndarray]] = {
    "mask": lambda body, preset, size: read_png(body),
    "json": read_summary,
    "npy": lambda body, preset, size: np.load(io.BytesIO(body)),
    "kserve": read_kserve,
    "open-inference": read_open_inference,
    "huggingface": read_huggingface,
    "coco": read_coco,
    "coco-polygons": read_coco,
    "geojson": read_geojson,
    "labelstudio": read_label_studio,
    "cvat": read_cvat,
    "legacy": read_legacy,
}

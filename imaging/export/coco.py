"""COCO's annotation file for one image.

The format is at https://cocodataset.org/#format-data; pycocotools reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from imaging.export.rle import CocoRle
from imaging.export.summary import ClassSummary

# Of an image whose name is no number.
DEFAULT_IMAGE_ID: Final = 1

MAX_ID_DIGITS: Final = 15  # JavaScript and CVAT's database keep numbers of so many exactly


def coco_dataset(
    name: str,
    size: tuple[int, int],
    labels: Mapping[int, str],
    objects: Sequence[ClassSummary],
    segmentations: Sequence[CocoRle | list[list[float]]],
) -> dict[str, object]:
    """File name, size (H, W), label by class id, the classes found and the pixels of each -> JSON.

    Each class has one annotation. A category's id is its class id + 1: 0 is the background to
    COCO's tools, which drop it or refuse it.
    """
    height, width = size
    image_id = image_id_of(name)
    return {
        "info": {"description": "one image, one annotation for each class in it"},
        "images": [{"id": image_id, "file_name": name, "width": width, "height": height}],
        "categories": [
            {"id": class_id + 1, "name": label, "supercategory": "", "class_id": class_id}
            for class_id, label in labels.items()
        ],
        "annotations": [
            {
                "id": number,  # from 1: pycocotools takes 0 for "not matched"
                "image_id": image_id,
                "category_id": entry["id"] + 1,
                "segmentation": segmentation,
                "area": entry["pixels"],
                "bbox": entry["bbox"],
                "iscrowd": 0,
                "score": entry["confidence"],
            }
            for number, (entry, segmentation) in enumerate(zip(objects, segmentations), start=1)
        ],
    }


def image_id_of(name: str) -> int:
    """The number that COCO's own files have for a name: 397133 of 000000397133.jpg; else 1."""
    stem = PurePosixPath(name).stem
    if stem.isascii() and stem.isdigit() and len(stem.lstrip("0")) <= MAX_ID_DIGITS:
        return int(stem) or DEFAULT_IMAGE_ID
    return DEFAULT_IMAGE_ID

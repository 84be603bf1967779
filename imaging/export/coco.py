"""COCO's annotation file for one image.

The format is at https://cocodataset.org/#format-data; pycocotools reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imaging.export.rle import CocoRle
from imaging.export.summary import ClassSummary

IMAGE_ID = 1


def coco_dataset(
    size: tuple[int, int],
    categories: Mapping[int, str],
    objects: Sequence[ClassSummary],
    segmentations: Sequence[CocoRle | list[list[float]]],
) -> dict[str, object]:
    """Size (H, W), label by id, the classes found and the pixels of each -> JSON-ready values.

    Each class has one annotation. Category ids are class ids, so they may begin at 0.
    """
    height, width = size
    return {
        "info": {"description": "one image, one annotation for each class in it"},
        "images": [{"id": IMAGE_ID, "file_name": "image", "width": width, "height": height}],
        "categories": [
            {"id": index, "name": label, "supercategory": ""} for index, label in categories.items()
        ],
        "annotations": [
            {
                "id": number,  # from 1: pycocotools takes 0 for "not matched"
                "image_id": IMAGE_ID,
                "category_id": entry["id"],
                "segmentation": segmentation,
                "area": entry["pixels"],
                "bbox": entry["bbox"],
                "iscrowd": 0,
                "score": entry["confidence"],
            }
            for number, (entry, segmentation) in enumerate(zip(objects, segmentations), start=1)
        ],
    }

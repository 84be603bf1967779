"""COCO files of single images, merged into the one file that a dataset has.

The format is at https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypedDict

UNNAMED: Final = "image"  # the file name of an image whose name the service was not told


class CocoImage(TypedDict):
    id: int
    file_name: str
    width: int
    height: int


class CocoCategory(TypedDict):
    id: int
    name: str
    supercategory: str
    class_id: int  # the value of its pixels in a mask


class CocoAnnotation(TypedDict):
    id: int
    image_id: int
    category_id: int
    segmentation: object  # RLE, or polygons
    area: int
    bbox: list[int]
    iscrowd: int
    score: float


class CocoDataset(TypedDict):
    info: Mapping[str, object]
    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[CocoAnnotation]


def merge_datasets(datasets: Mapping[str, CocoDataset]) -> CocoDataset:
    """Datasets of the same categories as one; annotations get new ids, 1, 2, ...

    A key is the name that an image gets which has none. Images keep their ids if no two have the
    same, else they get 1, 2, ... Raises ValueError for two images of one name, and for categories
    that differ: these datasets are of different models.
    """
    images: dict[str, CocoImage] = {}
    annotations: list[CocoAnnotation] = []
    categories: Sequence[CocoCategory] | None = None
    ids = [image["id"] for dataset in datasets.values() for image in dataset["images"]]
    keeps_ids = len(set(ids)) == len(ids)
    for key, dataset in datasets.items():
        categories = dataset["categories"] if categories is None else categories
        if dataset["categories"] != categories:
            raise ValueError(f"{key} has other categories than {next(iter(datasets))}")
        new_ids: dict[int, int] = {}
        for image in dataset["images"]:
            name = key if image["file_name"] == UNNAMED else image["file_name"]
            if name in images:
                raise ValueError(f"{key} is of the image {name}, as is a file before it")
            new_ids[image["id"]] = image["id"] if keeps_ids else len(images) + 1
            images[name] = {**image, "id": new_ids[image["id"]], "file_name": name}
        for annotation in dataset["annotations"]:
            place = {"id": len(annotations) + 1, "image_id": new_ids[annotation["image_id"]]}
            annotations.append({**annotation, **place})  # type: ignore[typeddict-item]
    return {
        "info": {"description": f"{len(images)} images, one annotation for each class in them"},
        "images": list(images.values()),
        "categories": list(categories or ()),
        "annotations": annotations,
    }

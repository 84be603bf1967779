"""Prints what an importer of datasets finds in a folder of COCO annotations, as JSON.

python coco_importers.py datumaro annotations
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Optional

# By image's name without suffix and by label, the area in pixels; None where it is not kept.
Found = dict[str, dict[str, Optional[float]]]


def read_by_datumaro(annotations: Path) -> Found:
    """https://github.com/open-edge-platform/datumaro; CVAT's importer is a branch of it."""
    from datumaro.components.annotation import AnnotationType
    from datumaro.components.dataset import Dataset

    dataset = Dataset.import_from(str(annotations.parent), "coco_instances")
    labels = dataset.categories()[next(iter(dataset.categories()))]
    found: Found = {}
    for item in dataset:
        areas = found.setdefault(item.id, {})
        for annotation in item.annotations:
            if annotation.type is AnnotationType.bbox:
                continue
            label = labels[annotation.label].name
            areas[label] = (areas.get(label) or 0) + float(annotation.get_area())
    return found


def read_by_ultralytics(annotations: Path) -> Found:
    """https://docs.ultralytics.com/reference/data/converter; classes are category ids - 1."""
    from ultralytics.data.converter import convert_coco

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "yolo")
        convert_coco(str(annotations), str(target), use_segments=True, cls91to80=False)
        dataset = json.loads(next(annotations.glob("*.json")).read_bytes())
        names = {category["class_id"]: category["name"] for category in dataset["categories"]}
        found: Found = {}
        for path in target.rglob("labels/**/*.txt"):
            _, *parts = path.relative_to(target / "labels").with_suffix("").parts
            for line in path.read_text().splitlines():
                found.setdefault("/".join(parts), {})[names[int(line.split()[0])]] = None
    return found


if __name__ == "__main__":
    readers = {"datumaro": read_by_datumaro, "ultralytics": read_by_ultralytics}
    print(json.dumps(readers[sys.argv[1]](Path(sys.argv[2]))))

"""deploy/cvat/function.py, run by cvat-sdk's own driver against a real TorchServe.

Of CVAT itself there are the task's images and labels, and what its API is given in the end.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from scripts.common.terminal import ROOT
from segmenter_client import RequestRefused, Service, segment
from segmenter_client.images import image_bytes
from tests.client.cli.journal_server import CARD
from tests.client.misbehaving_server import ok, serving
from tests.photos import agreement, photo
from tests.service.conftest import RunningModel

# pycocotools' decode predates NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

cvataa = pytest.importorskip("cvat_sdk.auto_annotation", reason="cvat-sdk needs Python 3.11")

from cvat_sdk import models  # noqa: E402
from cvat_sdk.auto_annotation import driver  # noqa: E402
from cvat_sdk.masks import decode_mask  # noqa: E402

FUNCTION = ROOT / "deploy" / "cvat" / "function.py"

PHOTOS = (photo(75, 113), photo(60, 40), photo(1, 1))

FIRST_LABEL = 500  # the task's ids are its own


@dataclass
class Task:
    """A task's images and labels, and the shapes that were uploaded."""

    images: tuple[Image.Image, ...]
    labels: tuple[str, ...]
    shapes: list[Any] = field(default_factory=list)

    def label_of(self, shape: Any) -> str:
        return self.labels[shape.label_id - FIRST_LABEL]

    def dataset(self, *_: object, **options: object) -> SimpleNamespace:
        """In place of cvat_sdk's TaskDataset, which downloads the images."""
        labels = [
            models.Label(name=name, id=FIRST_LABEL + index, type="any", attributes=[], sublabels=[])
            for index, name in enumerate(self.labels)
        ]
        samples = [
            SimpleNamespace(
                frame_index=index, frame_name=f"{index}.png", media=SimpleNamespace(load_image=load)
            )
            for index, load in enumerate(image.copy for image in self.images)
        ]
        return SimpleNamespace(labels=labels, samples=samples)

    def client(self) -> SimpleNamespace:
        def upload(
            action: str, task_id: int, patched_labeled_data_request: models.LabeledDataRequest
        ) -> None:
            assert (action, task_id) == ("create", 42)
            self.shapes += patched_labeled_data_request.shapes

        api = SimpleNamespace(partial_update_annotations=upload)
        return SimpleNamespace(logger=logging.getLogger(__name__), tasks=SimpleNamespace(api=api))


def create_function(url: str, **parameters: str) -> Any:
    """As cvat-cli loads a file: without a name in sys.modules."""
    spec = importlib.util.spec_from_file_location("__cvat_function__", FUNCTION)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.create(url=url, **parameters)


@pytest.fixture
def annotate(model: RunningModel, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(labels: tuple[str, ...], images: Any = PHOTOS, **options: Any) -> Task:
        task = Task(images, labels)
        monkeypatch.setattr(driver, "TaskDataset", task.dataset)
        cvataa.annotate_task(task.client(), 42, create_function(model.url), **options)
        return task

    return run


def test_the_masks_are_the_services(model: RunningModel, annotate: Any) -> None:
    """With the labels in another order than the model's."""
    task = annotate(model.preset.labels[::-1])
    assert {shape.type.value for shape in task.shapes} == {"mask"}
    for index, image in enumerate(PHOTOS):
        width, height = image.size
        read = np.full((height, width), -1)
        for shape in task.shapes:
            if shape.frame == index:
                pixels = decode_mask(shape.points, image_width=width, image_height=height)
                assert (read[pixels] == -1).all()
                read[pixels] = model.preset.labels.index(task.label_of(shape))
        np.testing.assert_array_equal(read, segment(image, url=model.url).mask)
    assert len(task.shapes) > len(PHOTOS)


def test_the_polygons_are_the_services(model: RunningModel, annotate: Any) -> None:
    """Of the format `coco-polygons`, which shows a region to half a pixel."""
    task = annotate(model.preset.labels, conv_mask_to_poly=True)
    assert {shape.type.value for shape in task.shapes} == {"polygon"}
    for index, image in enumerate(PHOTOS):
        width, height = image.size
        file = image_bytes(image)
        with Service(model.url) as service:
            dataset = json.loads(service.predict(file, "coco-polygons"))
            mask = segment(file, service=service).mask
        found = {
            label: [
                shape.points
                for shape in task.shapes
                if shape.frame == index and task.label_of(shape) == label
            ]
            for label in model.preset.labels
        }
        labels = {entry["id"]: entry["name"] for entry in dataset["categories"]}
        for annotation in dataset["annotations"]:
            label = labels[annotation["category_id"]]
            assert found[label] == annotation["segmentation"]
            rle = coco.merge(coco.frPyObjects(found.pop(label), height, width))
            filled = coco.decode(rle).astype(bool)
            assert agreement(filled, mask == model.preset.labels.index(label)) > 0.99
        assert not any(found.values())


def test_a_task_with_some_of_the_labels(model: RunningModel, annotate: Any) -> None:
    label = segment(PHOTOS[0], url=model.url).classes[0].label
    task = annotate((label,), allow_unmatched_labels=True)
    assert {task.label_of(shape) for shape in task.shapes} == {label}
    with pytest.raises(cvataa.BadFunctionError, match="is not in dataset"):
        annotate((label,))


@pytest.mark.parametrize("conv_mask_to_poly", [False, True])
def test_uncertain_classes_are_left_out(
    model: RunningModel, annotate: Any, conv_mask_to_poly: bool
) -> None:
    classes = segment(PHOTOS[0], url=model.url).classes
    least = sorted(entry.confidence for entry in classes)[len(classes) // 2]
    kept = {entry.label for entry in classes if entry.confidence >= least}
    task = annotate(
        model.preset.labels,
        PHOTOS[:1],
        conf_threshold=least,
        conv_mask_to_poly=conv_mask_to_poly,
    )
    assert {task.label_of(shape) for shape in task.shapes} == kept
    assert 0 < len(kept) < len(classes)


def test_void_is_not_a_label(model: RunningModel) -> None:
    with Service(model.url) as service:
        card = service.model()
    labels = create_function(model.url).spec.labels
    assert [(one.name, one.id, one.type) for one in labels] == [
        (entry.label, entry.id, "mask") for entry in card.classes if entry.id != card.void
    ]


def test_a_photo_that_is_refused_says_why(model: RunningModel, annotate: Any) -> None:
    with pytest.raises(RequestRefused, match="image_side_too_long"):
        annotate(model.preset.labels, (Image.new("1", (60_000, 10)),))


def test_the_token_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTER_TOKEN", "secret")
    with serving(ok(json.dumps(CARD).encode())) as server:
        create_function(server.url)
    assert server.headers[0]["Authorization"] == "Bearer secret"

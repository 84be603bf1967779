"""COCO files of single images as the service makes them, merged, and imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from model.preset import Preset
from segmenter_client.cli.merge_command import run
from segmenter_client.cli.terminal import UserError
from segmenter_client.coco import merge_datasets
from serving.response.encode import encode
from serving.response.encoder_input import EncoderInput
from serving.types import ModelInfo, Segmentation
from tests.service.clients import coco_importers
from tests.service.clients.coco_importers import Found
from tests.service.clients.packages import python_packages

# pycocotools' decode predates NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

INFO = ModelInfo("toy", "1.0", "sha256:" + "0" * 64, "fp32")
LABELS = ("sky", "road", "car")
PRESET = Preset(
    name="toy",
    description="three classes, none of which is the background",
    backbone="resnet18",
    features="layer3",
    output_stride=8,
    atrous_rates=(12, 24, 36),
    short_side=64,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    labels=LABELS,
    palette=((70, 130, 180), (128, 64, 128), (64, 0, 128)),
    weights=None,
)


IMPORT_SECONDS = 300  # a bound against hanging


def mask_of(seed: int) -> np.ndarray:
    """Blocks of three classes, the sky among them, with a hole; (20, 30)."""
    mask = np.kron(np.random.default_rng(seed).integers(0, 3, (4, 5)), np.ones((5, 6), int))
    mask[7:10, 7:10] = (mask[7, 7] + 1) % 3
    return mask.astype(np.uint8)


def coco_file(seed: int, name: str, output: str = "coco") -> bytes:
    mask = mask_of(seed)
    segmentation = Segmentation(mask, np.full(mask.shape, 200, np.uint8), None)
    return encode(output, EncoderInput(segmentation, PRESET, INFO, name)).body


def dataset(seed: int, name: str) -> Any:
    return json.loads(coco_file(seed, name))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `segmenter --as coco,coco-polygons` makes of three photos."""
    for seed, name in enumerate(("a.jpg", "street/b.jpg", "street/000000397133.jpg")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        for output in ("coco", "coco-polygons"):
            (tmp_path / f"{name}.{output}.json").write_bytes(coco_file(seed, name, output))
    return tmp_path


@pytest.mark.parametrize("options", [[], ["--polygons"]])
def test_a_folder_becomes_one_dataset(
    folder: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(folder), *options]) == 0
    assert "3 images, " in capsys.readouterr().out
    coco = COCO(str(folder / "instances.json"))
    names = [image["file_name"] for image in coco.loadImgs(coco.getImgIds())]
    assert names == ["a.jpg", "street/000000397133.jpg", "street/b.jpg"]
    for seed, name in enumerate(("a.jpg", "street/b.jpg", "street/000000397133.jpg")):
        (image,) = (image for image in coco.imgs.values() if image["file_name"] == name)
        read = np.full((20, 30), -1)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
            category = coco.cats[annotation["category_id"]]
            assert PRESET.labels[category["class_id"]] == category["name"]
            read[coco.annToMask(annotation).astype(bool)] = category["class_id"]
        np.testing.assert_array_equal(read, mask_of(seed))


def test_images_keep_ids_that_differ() -> None:
    merged = merge_datasets({"x": dataset(0, "000000000139.jpg"), "y": dataset(1, "000285.jpg")})
    assert [image["id"] for image in merged["images"]] == [139, 285]
    assert {annotation["image_id"] for annotation in merged["annotations"]} == {139, 285}
    ids = [annotation["id"] for annotation in merged["annotations"]]
    assert ids == list(range(1, len(ids) + 1))


def test_images_get_ids_where_they_have_the_same() -> None:
    merged = merge_datasets({"x": dataset(0, "a.jpg"), "y": dataset(1, "b.jpg")})
    assert [image["id"] for image in merged["images"]] == [1, 2]


def test_an_image_without_a_name_gets_its_files() -> None:
    merged = merge_datasets({"a.jpg": dataset(0, "image"), "b.jpg": dataset(1, "image")})
    assert [image["file_name"] for image in merged["images"]] == ["a.jpg", "b.jpg"]


def test_two_files_of_one_image() -> None:
    with pytest.raises(ValueError, match=r"y is of the image a\.jpg, as is a file before it"):
        merge_datasets({"x": dataset(0, "a.jpg"), "y": dataset(1, "a.jpg")})


def test_files_of_two_models() -> None:
    other = dataset(1, "b.jpg")
    other["categories"][0]["name"] = "water"
    with pytest.raises(ValueError, match="y has other categories than x"):
        merge_datasets({"x": dataset(0, "a.jpg"), "y": other})


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, r"no file in .* ends in \.coco\.json"), (b"{", "is not JSON"), (b"{}", "not one of")],
)
def test_what_cannot_be_merged(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "a.jpg.coco.json").write_bytes(content)
    with pytest.raises(UserError, match=reason):
        run([str(tmp_path)])


def import_dataset(importer: str, annotations: Path, config: Path) -> Found:
    """What the importer finds in a folder; skips where the package registry cannot be reached."""
    environment = {"PYTHONPATH": str(python_packages(importer)), "YOLO_CONFIG_DIR": str(config)}
    done = subprocess.run(
        [sys.executable, coco_importers.__file__, importer, str(annotations)],
        env={**os.environ, **environment, "YOLO_OFFLINE": "true"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=IMPORT_SECONDS,
    )
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("importer", ["datumaro", "ultralytics"])
@pytest.mark.parametrize("options", [[], ["--polygons"]], ids=["rle", "polygons"])
def test_importers_find_every_class(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, importer: str, options: list[str]
) -> None:
    """CVAT imports COCO by a branch of Datumaro. Each image has each class, the first one too."""
    run([str(folder), *options, "--output", str(folder / "annotations" / "instances_default.json")])
    for name in ("a.jpg", "street/b.jpg", "street/000000397133.jpg"):
        photo = folder / "images" / name  # datumaro wants a folder of them
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20)).save(photo)
    found = import_dataset(importer, folder / "annotations", tmp_path_factory.mktemp("config"))
    expected = {
        name: {label: int((mask_of(seed) == index).sum()) for index, label in enumerate(LABELS)}
        for seed, name in enumerate(("a", "street/b", "street/000000397133"))
    }
    assert found.keys() == expected.keys()
    for name, classes in expected.items():
        assert found[name].keys() == classes.keys()
        for label, area in classes.items():
            assert found[name][label] in (None, pytest.approx(area, rel=0.05))

"""COCO files as pycocotools and OpenCV read them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from imaging.export.coco import image_id_of
from imaging.export.polygons import class_polygons, coco_polygons

# pycocotools' decode predates NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("000000397133.jpg", 397_133),
        ("val2017/000000000139.jpg", 139),
        ("7", 7),
        ("0.png", 1),
        ("image", 1),
        ("photo 7.jpg", 1),
        ("\u0663.jpg", 1),
        ("9" * 15, int("9" * 15)),
        ("9" * 16, 1),
    ],
)
def test_an_image_has_the_id_that_its_name_is(name: str, image_id: int) -> None:
    assert image_id_of(name) == image_id


def fill_by_opencv(rings: list[list[float]], height: int, width: int) -> np.ndarray:
    """As docs/formats.md says."""
    scale = 8
    canvas = np.zeros((height * scale, width * scale), np.uint8)
    corners = [np.round(np.reshape(ring, (-1, 2)) * scale).astype(np.int32) for ring in rings]
    cv2.fillPoly(canvas, corners, 1)
    return canvas[scale // 2 :: scale, scale // 2 :: scale]


def test_polygons_are_filled_alike_by_opencv_and_pycocotools() -> None:
    """A thin pole, a region with two holes, of which one has an island, and diagonals."""
    mask = np.zeros((60, 80), np.uint8)
    mask[5:55, 70:72] = 1
    mask[10:50, 5:60] = 2
    mask[15:30, 10:30] = 0
    mask[18:25, 15:20] = 2
    mask[35:45, 35:55] = 1
    mask |= 3 * np.tri(60, 80, -40, np.uint8)
    for class_id, polygons in class_polygons(mask).items():
        rings = coco_polygons(polygons)
        rle = coco_mask.merge(coco_mask.frPyObjects(rings, *mask.shape))
        expected = mask == class_id
        for filled in (coco_mask.decode(rle), fill_by_opencv(rings, *mask.shape)):
            both, either = filled.astype(bool) & expected, filled.astype(bool) | expected
            assert both.sum() / either.sum() >= 0.99

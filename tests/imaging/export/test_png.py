from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from imaging.export.png import grey_png, mask_png

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)
PALETTE = [(k, 255 - k, k * k % 256) for k in range(256)]


def opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file), formats=["PNG"])


@given(arrays(np.uint8, SHAPES))
def test_pixel_values_are_class_ids(mask: np.ndarray) -> None:
    image = opened(mask_png(mask, PALETTE))
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), mask)


@given(arrays(np.uint8, SHAPES))
def test_grey_values_are_kept(grey: np.ndarray) -> None:
    image = opened(grey_png(grey))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), grey)


def test_colours_are_the_palette_s() -> None:
    image = opened(mask_png(np.array([[0, 2, 1]], np.uint8), [(0, 0, 0), (128, 0, 0), (9, 8, 7)]))
    assert np.asarray(image.convert("RGB")).tolist() == [[[0, 0, 0], [9, 8, 7], [128, 0, 0]]]


@pytest.mark.parametrize("num_classes", [1, 2, 21, 256])
def test_every_mask_has_8_bits_and_256_colours(num_classes: int) -> None:
    file = mask_png(np.zeros((2, 3), np.uint8), PALETTE[:num_classes])
    bit_depth, colour_type = file[24:26]
    assert (bit_depth, colour_type) == (8, 3)
    assert len(opened(file).getpalette() or []) == 3 * 256


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_more_classes_than_colours(dtype: type[np.integer]) -> None:
    mask = np.array([[0, 255, 256], [1000, 40_000, 65_535]], dtype)
    image = opened(mask_png(mask, 257 * [(0, 0, 0)]))
    assert image.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(image), mask)


def test_views_are_encoded_like_their_copies() -> None:
    mask = np.arange(60, dtype=np.uint8).reshape(6, 10)[::2, ::-3]
    np.testing.assert_array_equal(np.asarray(opened(mask_png(mask, PALETTE))), mask)

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from imaging.export.overlay import blend, overlay_jpeg

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (60, 80, 3), np.uint8)
PHOTO = Image.fromarray(PIXELS)
MASK = RNG.integers(0, 4, (60, 80)).astype(np.uint8)
PALETTE = [(0, 0, 0), (128, 0, 0), (0, 255, 1), (0, 0, 0)]


def plain_blend(
    palette: list[tuple[int, int, int]], mask: np.ndarray, opacity: float
) -> np.ndarray:
    colours = np.array(palette, float)[mask]
    is_tinted = colours.any(axis=2, keepdims=True)
    return np.where(is_tinted, (1 - opacity) * PIXELS + opacity * colours, PIXELS)


@pytest.mark.parametrize("opacity", [0, 0.3, 0.5, 1])
def test_blend_is_the_plain_one_to_the_nearest_level(opacity: float) -> None:
    blended = np.asarray(blend(PHOTO, MASK, PALETTE, opacity), float)
    np.testing.assert_allclose(blended, plain_blend(PALETTE, MASK, opacity), atol=1.01)


def test_black_classes_leave_the_photo_alone() -> None:
    blended = np.asarray(blend(PHOTO, MASK, PALETTE, 0.5))
    is_black = np.isin(MASK, (0, 3))
    np.testing.assert_array_equal(blended[is_black], PIXELS[is_black])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_any_number_of_classes(dtype: type[np.integer]) -> None:
    palette = [(k % 256, k // 256, 100) for k in range(np.iinfo(np.uint8).max + 1)]
    mask = RNG.integers(0, 256, (60, 80)).astype(dtype)
    if dtype is not np.uint8:
        palette += [(1, 2, 3)]
        mask[0, 0] = 256
    blended = np.asarray(blend(PHOTO, mask, palette, 0.5), float)
    np.testing.assert_allclose(blended, plain_blend(palette, mask, 0.5), atol=1.01)


def test_photo_is_not_touched() -> None:
    blend(PHOTO, MASK, PALETTE, 1)
    np.testing.assert_array_equal(np.asarray(PHOTO), PIXELS)


def test_jpeg_shows_the_blend() -> None:
    smooth = Image.fromarray(PIXELS[:4, :5]).resize((80, 60))
    mask = np.ones((60, 80), np.uint8)
    image = Image.open(io.BytesIO(overlay_jpeg(smooth, mask, PALETTE)), formats=["JPEG"])
    assert image.size == smooth.size
    assert get_sampling(image) == 0  # 4:4:4
    expected = np.asarray(blend(smooth, mask, PALETTE, 0.5), float)
    np.testing.assert_allclose(np.asarray(image, float), expected, atol=16)

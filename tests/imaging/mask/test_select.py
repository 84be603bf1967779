from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imaging.mask.select import keep_classes, keep_confident, keep_valid

MASK = np.array([[0, 1], [2, 1]], dtype=np.uint8)
CONFIDENCE = np.array([[255, 51], [50, 0]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("classes", "void", "expected"),
    [
        ({1}, 255, [[255, 1], [255, 1]]),
        ({0, 2}, 255, [[0, 255], [2, 255]]),
        ({2}, 0, [[0, 0], [2, 0]]),  # void is the background
        ({7}, 255, [[255, 255], [255, 255]]),  # a class that is not there
    ],
)
def test_classes(classes: set[int], void: int, expected: list[list[int]]) -> None:
    kept = keep_classes(MASK, classes, void)
    assert kept.dtype == np.uint8
    assert kept.tolist() == expected
    assert MASK.tolist() == [[0, 1], [2, 1]]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.0, [[0, 1], [2, 1]]),
        (0.2, [[0, 1], [9, 9]]),  # 51 / 255
        (0.201, [[0, 9], [9, 9]]),
        (1.0, [[0, 9], [9, 9]]),
    ],
)
def test_threshold(threshold: float, expected: list[list[int]]) -> None:
    assert keep_confident(MASK, CONFIDENCE, threshold, void=9).tolist() == expected


def test_valid_pixels_keep_their_class() -> None:
    valid = np.array([[True, False], [True, True]])
    assert keep_valid(MASK, valid, void=255).tolist() == [[0, 255], [2, 1]]
    assert MASK.tolist() == [[0, 1], [2, 1]]


def test_a_void_that_takes_more_bits() -> None:
    for kept in (
        keep_classes(MASK, {1}, void=65_535),
        keep_confident(MASK, CONFIDENCE, 1.0, void=65_535),
        keep_valid(MASK, MASK == 0, void=65_535),
    ):
        assert kept.dtype == np.int32
        assert kept.max() == 65_535


@given(
    arrays(np.uint8, (5, 7), elements=st.integers(0, 11)),
    arrays(np.uint8, (5, 7)),
    st.sets(st.integers(0, 11), min_size=1),
    st.floats(0, 1),
)
def test_pixel_by_pixel(
    mask: np.ndarray, confidence: np.ndarray, classes: set[int], threshold: float
) -> None:
    kept = keep_confident(keep_classes(mask, classes, 255), confidence, threshold, 255)
    for value, was, grey in zip(kept.flat, mask.flat, confidence.flat, strict=True):
        is_kept = was in classes and grey / 255 >= threshold - 1e-8
        assert value == (was if is_kept else 255)

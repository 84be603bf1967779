from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from imaging.export.rle import coco_rle, column_runs

# pycocotools' decode predates NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70)


def coco_encode(binary: np.ndarray) -> dict[str, object]:
    rle = coco.encode(np.asfortranarray(binary, np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


@given(arrays(bool, SHAPES))
def test_strings_are_those_of_pycocotools(binary: np.ndarray) -> None:
    assert coco_rle(binary) == coco_encode(binary)


@given(arrays(bool, SHAPES))
def test_pycocotools_reads_them_back(binary: np.ndarray) -> None:
    np.testing.assert_array_equal(coco.decode(coco_rle(binary)), binary)


@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3000, 4000)])
def test_uniform_images(shape: tuple[int, int], value: bool) -> None:
    binary = np.full(shape, value)
    assert coco_rle(binary) == coco_encode(binary)


@given(st.lists(st.integers(1, 2_000_000), min_size=1, max_size=12), st.booleans())
def test_runs_of_every_magnitude(lengths: list[int], first: bool) -> None:
    binary = np.repeat([first ^ bool(k % 2) for k in range(len(lengths))], lengths)[:, None]
    assert coco_rle(binary) == coco_encode(binary)


def test_literal_string() -> None:
    assert coco_rle(np.array([[0, 1], [1, 1], [1, 0]], bool)) == {"size": [3, 2], "counts": "141"}


@given(arrays(np.uint8, SHAPES, elements=st.integers(0, 3)))
def test_runs_rebuild_the_image(image: np.ndarray) -> None:
    values, starts, lengths = column_runs(image)
    np.testing.assert_array_equal(np.repeat(values, lengths), image.ravel(order="F"))
    np.testing.assert_array_equal(starts, np.cumsum(lengths) - lengths)
    assert (values[1:] != values[:-1]).all()

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from imaging.pixel_array import STRIP_ROWS, look_up, read_rows, rgb_array, write_rows


@pytest.mark.parametrize("height", [1, STRIP_ROWS - 1, STRIP_ROWS, STRIP_ROWS + 1, 3 * STRIP_ROWS])
def test_it_is_numpy_s_own_reading(height: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, 5, 3), np.uint8)
    array = rgb_array(Image.fromarray(pixels))
    assert (array.dtype, array.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(array, pixels)


def test_the_image_is_not_touched() -> None:
    image = Image.new("RGB", (3, 2), "red")
    rgb_array(image)[:] = 0
    assert image.getpixel((1, 1)) == (255, 0, 0)


@pytest.mark.parametrize("height", [0, 1, STRIP_ROWS, STRIP_ROWS + 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_look_up_is_numpy_s_indexing(height: int, dtype: type[np.integer]) -> None:
    indices = np.random.default_rng(0).integers(0, 21, (height, 5)).astype(dtype)
    table = np.arange(21, dtype=np.uint32) ** 3
    values = look_up(table, indices)
    assert values.dtype == table.dtype
    np.testing.assert_array_equal(values, table[indices])


def test_look_up_outside_the_table() -> None:
    with pytest.raises(IndexError):
        look_up(np.zeros(3, np.uint8), np.full((2, 2), 3))


@pytest.mark.parametrize("layout", ["RGB", "RGBX"])
def test_rows_are_read_and_written_in_place(layout: str) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    image = Image.fromarray(colours)
    rows = np.frombuffer(read_rows(image, 2, 5, layout), np.uint8).reshape(3, 7, -1)
    np.testing.assert_array_equal(rows[..., :3], colours[2:5])
    write_rows(image, 4, 7, layout, rows.tobytes())
    colours[4:7] = colours[2:5]
    np.testing.assert_array_equal(np.asarray(image), colours)

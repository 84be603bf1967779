"""Numbers of any type become 8 bits by what they declare, or by the range that they use."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.colour.levels import to_8_bits


def levels(values: list[float], dtype: str, bits: int = 0) -> list[int]:
    (row,) = to_8_bits(np.array([values], dtype), bits or 8 * np.dtype(dtype).itemsize).tolist()
    return row


def test_bytes_stay() -> None:
    assert levels([0, 7, 255], "uint8") == [0, 7, 255]


@pytest.mark.parametrize(
    ("bits", "values", "expected"),
    [
        (1, [0, 1], [0, 255]),
        (2, [0, 1, 2, 3], [0, 85, 170, 255]),
        (4, [0, 1, 15], [0, 17, 255]),
    ],
)
def test_fewer_bits_fill_the_range(bits: int, values: list[float], expected: list[int]) -> None:
    assert levels(values, "uint8", bits) == expected


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_declared_bits(bits: int) -> None:
    white = (1 << bits) - 1
    assert levels([0, white // 4, white], "uint16", bits) == [0, 63, 255]
    assert levels([0, white // 4, white // 2], "uint16", bits) == [0, 63, 127]  # not the used range


@pytest.mark.parametrize("used", [8, 10, 12, 14])
def test_used_bits_where_none_are_declared(used: int) -> None:
    white = (1 << used) - 1
    assert levels([0, white // 4, white], "uint16") == [0, 63, 255]


def test_more_used_bits_keep_the_high_byte() -> None:
    assert levels([0, 0x00FF, 0x1234, 0x7FFF], "uint16") == [0, 0, 0x12, 0x7F]


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("int8", [-128, 0, 127], [0, 128, 255]),
        ("int16", [-1000, 0, 1000], [0, 128, 255]),
        ("uint32", [0, 10, 20], [0, 128, 255]),
        ("float64", [0.25, 0.5], [64, 128]),
        ("float32", [100.0, np.nan, 200.0], [0, 0, 255]),
    ],
)
def test_other_numbers_are_stretched(dtype: str, values: list[float], expected: list[int]) -> None:
    assert levels(values, dtype) == expected


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("float32", [-9999, 100, 150, 200], [0, 0, 128, 255]),
        ("uint16", [65_535, 0, 1023, 4095], [255, 0, 63, 255]),
    ],
)
def test_pixels_without_data_do_not_count(
    dtype: str, values: list[float], expected: list[int], channels: tuple[int, ...]
) -> None:
    rows = np.array([values], dtype)
    pixels = np.broadcast_to(rows[..., None], (1, 4, 3)) if channels else rows
    found = to_8_bits(pixels, 16, np.array([[False, True, True, True]]))
    assert found.reshape(4, -1)[:, -1].tolist() == expected
    assert found.shape == (1, 4, *channels)

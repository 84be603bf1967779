from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_converter.brush import decode_rle, encode_rle

from imaging.export.brush_rle import brush_rle
from imaging.export.rle import column_runs


def code_of(binary: np.ndarray) -> list[int]:
    runs = column_runs(binary.T)
    inside = runs.values.astype(bool)
    return brush_rle(runs.starts[inside], runs.lengths[inside], binary.size).tolist()


def plain_code(binary: np.ndarray) -> list[int]:
    """By Label Studio's own encoder, which builds strings of 0 and 1."""
    rgba = np.repeat(np.where(binary, 255, 0).astype(np.uint8).ravel(), 4)
    return list(map(int, encode_rle(rgba)))


def assert_same(code: list[int], plain: list[int]) -> None:
    """Except for a last byte that Label Studio's encoder adds where the bits end on a byte."""
    assert code == plain or [*code, 0] == plain


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30)))
def test_as_label_studio_writes_and_reads_it(binary: np.ndarray) -> None:
    code = code_of(binary)
    assert_same(code, plain_code(binary))
    picture = decode_rle(code).reshape(*binary.shape, 4)
    np.testing.assert_array_equal(picture, np.repeat(binary[..., None] * 255, 4, axis=2))


@given(st.lists(st.integers(1, 70_000), min_size=1, max_size=5), st.booleans())
def test_runs_of_every_length(lengths: list[int], first: bool) -> None:
    binary = np.repeat([first ^ bool(k % 2) for k in range(len(lengths))], lengths)[None]
    # Label Studio's own code is longer: it writes the remainder of a long run in 16 bits.
    assert len(code_of(binary)) <= len(plain_code(binary))
    np.testing.assert_array_equal(decode_rle(code_of(binary))[::4], binary[0] * 255)


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 64, 65, 2**14 - 1, 2**14])
def test_lengths_at_which_the_width_changes(pixels: int) -> None:
    assert_same(code_of(np.ones((1, pixels), bool)), plain_code(np.ones((1, pixels), bool)))


def test_literal_bits() -> None:
    bits = "".join(f"{byte:08b}" for byte in code_of(np.array([[False, True]])))
    header = f"{8:032b}" + f"{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}"
    runs = "1" + "00" + f"{3:03b}" + f"{0:08b}" + "1" + "00" + f"{3:03b}" + f"{255:08b}"
    assert bits == (header + runs).ljust(len(bits), "0")
    assert len(bits) - len(header + runs) < 8

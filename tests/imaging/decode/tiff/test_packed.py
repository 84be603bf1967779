"""Samples that share bytes: bilevel, 2 to 7 and 9 to 15 bits, palettes, reversed bits."""

from __future__ import annotations

import io
import itertools
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imaging.decode.decoder import decode_image
from scripts.stress.fuzz.tiff_writer import tiff_file

HEIGHT, WIDTH = 12, 53
ROWS_PER_STRIP = 5
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = 0, 1, 2, 3
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def packed(values: npt.NDArray[np.integer], bits: int, order: str) -> bytes:
    """(rows, samples) bit by bit; rows begin on whole bytes, 16 bits are two of them."""
    if bits == 16:
        return values.astype(order + "u2").tobytes()
    rows = ("".join(f"{value:0{bits}b}" for value in row) for row in values.tolist())
    padded = (row.ljust(-(-len(row) // 8) * 8, "0") for row in rows)
    return b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in padded)


def stored(
    values: npt.NDArray[np.integer],
    bits: int,
    photometric: int,
    *,
    order: str,
    big: bool = False,
    in_planes: bool = False,
    deflated: bool = False,
    is_reversed: bool = False,
    colours: list[int] | None = None,
) -> bytes:
    channels = values.shape[-1]
    planes = np.split(values, channels, axis=-1) if in_planes else [values]
    pieces = []
    for plane, top in itertools.product(planes, range(0, HEIGHT, ROWS_PER_STRIP)):
        rows = plane[top : top + ROWS_PER_STRIP]
        piece = packed(rows.reshape(len(rows), -1), bits, order)
        piece = zlib.compress(piece) if deflated else piece
        pieces.append(piece.translate(REVERSED) if is_reversed else piece)
    tags = {256: WIDTH, 257: HEIGHT, 258: [bits] * channels, 262: photometric, 277: channels}
    tags |= {259: 8 if deflated else 1, 266: 2 if is_reversed else 1, 278: ROWS_PER_STRIP}
    tags |= {284: 2 if in_planes else 1} | ({320: colours} if colours else {})
    return tiff_file((tags, pieces), order=order, big=big)


def right(values: npt.NDArray[np.integer], bits: int) -> npt.NDArray[np.generic]:
    levels = values >> (bits - 8) if bits > 8 else np.rint(values * (255 / ((1 << bits) - 1)))
    return np.broadcast_to(levels, (HEIGHT, WIDTH, 3))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [*range(1, 17)])
def test_any_number_of_bits(bits: int, order: str) -> None:
    rng = np.random.default_rng(bits)
    flags = (False, True)
    for channels, in_planes, deflated, is_reversed, big in itertools.product(
        (1, 3), flags, flags, flags, flags
    ):
        values = rng.integers(0, 1 << bits, (HEIGHT, WIDTH, channels))
        values[0, 0] = (1 << bits) - 1
        file = stored(
            values,
            bits,
            RGB if channels == 3 else BLACK_IS_ZERO,
            order=order,
            big=big,
            in_planes=in_planes,
            deflated=deflated,
            is_reversed=is_reversed,
        )
        np.testing.assert_array_equal(np.asarray(decode_image(file)), right(values, bits))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_negatives(bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 1 << bits, (HEIGHT, WIDTH, 1))
    values[0, 0] = (1 << bits) - 1
    file = stored(values, bits, WHITE_IS_ZERO, order=">")
    np.testing.assert_array_equal(np.asarray(decode_image(file)), 255 - right(values, bits))


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("deepest", [255, 65_535])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(bits: int, deepest: int, is_reversed: bool) -> None:
    """Old programs wrote colours of 8 bits into the 16 of a palette."""
    rng = np.random.default_rng(bits)
    values = rng.integers(0, 1 << bits, (HEIGHT, WIDTH, 1))
    colours = rng.integers(0, deepest + 1, (3, 1 << bits))
    colours[0, 0] = deepest
    table = colours.ravel().tolist()
    file = stored(values, bits, PALETTE, order="<", is_reversed=is_reversed, colours=table)
    high_bytes = colours if deepest == 255 else colours >> 8
    expected = high_bytes.T[values[..., 0]]
    np.testing.assert_array_equal(np.asarray(decode_image(file)), expected)


def test_a_plain_picture_is_what_pillow_reads() -> None:
    """The writer of this file against an independent reader."""
    values = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3))
    file = stored(values, 8, RGB, order="<", deflated=True)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file))), values)

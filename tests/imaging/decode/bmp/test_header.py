from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.decode.bmp.header import read_header
from imaging.decode.decoder import decode_image
from imaging.decode.limits import Limits
from imaging.errors import ImageError, ImageTooLarge, UnreadableImage, UnsupportedImage
from tests.imaging.decode.differential.bmp_samples import RLE8, pack_rows, write_bmp

PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
INDICES = np.random.default_rng(1).integers(0, 256, (7, 13)).astype(np.uint32)
FILE = write_bmp(pack_rows(INDICES, 8), 8, palette=PALETTE)


@pytest.mark.parametrize(
    ("compression", "header", "message"),
    [
        (4, 40, "BMP files with JPEG inside are not read."),
        (5, 40, "BMP files with PNG inside are not read."),
        (3, 64, "BMP files with Huffman coding are not read."),
        (4, 64, "BMP files with 24-bit run lengths are not read."),
        (11, 40, "BMP files of CMYK are not read."),
        (12, 40, "BMP files of CMYK are not read."),
    ],
)
def test_kinds_that_are_not_read_are_named(compression: int, header: int, message: str) -> None:
    file = write_bmp(b"", 8, header=header, palette=PALETTE, compression=compression)
    with pytest.raises(UnsupportedImage) as caught:
        decode_image(file)
    assert caught.value.message.startswith(message)


def test_bitmaps_of_64_bits_are_named() -> None:
    with pytest.raises(UnsupportedImage, match="64 bits a pixel are not read"):
        decode_image(write_bmp(bytes(7 * 13 * 8), 64))


@pytest.mark.parametrize("length", [20, 60, 500, 1078, len(FILE) - 4])
def test_truncated(length: int) -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(FILE[:length])
    assert caught.value.code == "image_truncated"


def test_the_size_of_the_file_that_the_header_tells_is_of_no_account() -> None:
    for size in (0, 1, 2**32 - 1):
        file = FILE[:2] + struct.pack("<I", size) + FILE[6:]
        np.testing.assert_array_equal(np.asarray(decode_image(file)), PALETTE[INDICES])


@pytest.mark.parametrize(("header", "num_colours"), [(12, 16), (40, 16), (40, 9), (124, 9)])
def test_pixels_at_no_offset_follow_the_palette(header: int, num_colours: int) -> None:
    indices = INDICES % num_colours
    file = write_bmp(pack_rows(indices, 4), 4, header=header, palette=PALETTE[:num_colours])
    file = file[:10] + bytes(4) + file[14:]
    np.testing.assert_array_equal(np.asarray(decode_image(file)), PALETTE[indices])


def test_indices_beyond_the_palette_are_black() -> None:
    pixels = np.asarray(decode_image(write_bmp(pack_rows(INDICES, 8), 8, palette=PALETTE[:9])))
    expected = np.where(INDICES[..., None] < 9, PALETTE[INDICES], 0)
    np.testing.assert_array_equal(pixels, expected)


def test_fields_that_have_holes_are_refused() -> None:
    file = write_bmp(bytes(7 * 52), 32, masks=(0xFF00FF, 0xFF00, 0xFF), compression=3)
    with pytest.raises(UnreadableImage) as caught:
        decode_image(file)
    assert caught.value.code == "image_corrupt"


def test_run_lengths_stop_when_their_time_is_up() -> None:
    file = write_bmp(b"\1\7" * 2_000_000, 8, palette=PALETTE, compression=RLE8)
    started = time.thread_time()
    with pytest.raises(ImageTooLarge) as caught:
        decode_image(file, Limits(max_seconds=0.05))
    assert caught.value.code == "image_too_slow"
    assert time.thread_time() - started < 1


def test_sizes_are_limited_by_the_header() -> None:
    file = FILE[:18] + struct.pack("<ii", 30_000, -30_000) + FILE[26:]
    with pytest.raises(ImageTooLarge, match="30000x30000"):
        decode_image(file)


@given(st.binary(max_size=200))
def test_any_header_is_read_or_refused(rest: bytes) -> None:
    try:
        header = read_header(b"BM" + bytes(12) + rest)
    except (ImageError, ValueError, struct.error):
        return
    assert min(header.size) > 0

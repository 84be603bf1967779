from __future__ import annotations

import io
import struct

import numpy as np
import PIL
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from imaging.decode.decoder import decode_image, upright_rgb
from tests.imaging.decode.differential.png_samples import GREY_ALPHA, RGBA, write_png

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def decoded(image: Image.Image, file_format: str = "PNG", **options: object) -> list[list[int]]:
    """RGB of the pixels of the first row."""
    return np.asarray(decode_image(encode(image, file_format, **options)))[0].tolist()


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB"]
MODES += ["HSV", "I", "F", "I;16"]


@given(st.sampled_from(MODES), st.integers(1, 9), st.integers(1, 9), st.binary(min_size=324))
def test_every_mode_becomes_rgb(mode: str, width: int, height: int, data: bytes) -> None:
    image = Image.new(mode, (width, height))
    image.frombytes(data[: len(image.tobytes())])
    rgb = upright_rgb(image)
    assert (rgb.mode, rgb.size, rgb.info) == ("RGB", (width, height), {})


def test_transparency_is_laid_over_white() -> None:
    row = [[(0, 0, 0, 0), (200, 100, 0, 255), (0, 0, 0, 128)]]
    image = Image.fromarray(np.array(row, np.uint8))
    white, opaque, half = [255, 255, 255], [200, 100, 0], [127, 127, 127]
    assert decoded(image) == [white, opaque, half]
    assert decoded(image, "WEBP", lossless=True, exact=True) == [white, opaque, half]
    assert decoded(image, "TIFF") == [white, opaque, half]
    grey = Image.merge("LA", (image.getchannel("G"), image.getchannel("A")))
    assert decoded(grey) == [white, [100, 100, 100], half]


def test_transparent_colours_are_white() -> None:
    grey = Image.fromarray(np.array([[0, 7, 9]], np.uint8))
    expected = [[0, 0, 0], [255, 255, 255], [9, 9, 9]]
    assert decoded(grey, transparency=7) == expected
    assert decoded(grey.convert("RGB"), transparency=(7, 7, 7)) == expected
    sixteen = Image.fromarray(np.array([[0, 1799, 2304, 65_535]], np.uint16))
    assert decoded(sixteen, transparency=1799) == [*expected, [255] * 3]
    palette = grey.convert("P")
    assert decoded(palette, transparency=7) == expected
    assert decoded(palette, "GIF", transparency=7) == expected
    several = bytes([255] * 7 + [0, 255, 0])
    assert decoded(palette, transparency=several) == [[0, 0, 0], [255] * 3, [255] * 3]


@pytest.mark.parametrize("colour_type", [GREY_ALPHA, RGBA])
@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        ([0, 0x4000, 0x8000, 0xFFFF], [255, 191, 127, 0]),  # of 16 bits, above dark colours
        ([0, 0x0100, 0x0200, 0x03FF], [255, 191, 127, 0]),  # of 10 bits, like the colours
        ([0, 0x0100, 0x0200, 0xFFFF], [255, 191, 127, 0]),
    ],
)
def test_alpha_of_dark_pictures_has_its_own_range(
    colour_type: int, alpha: list[int], expected: list[int]
) -> None:
    """Black, of 10 bits as one white pixel tells, over white."""
    colours = 3 if colour_type == RGBA else 1
    row = [[0] * colours + [level] for level in alpha] + [[0x3FF] * colours + [alpha[-1]]]
    pixels = np.asarray(decode_image(write_png(np.array([row], np.uint16), colour_type, 16)))
    assert pixels[0, :, 0].tolist() == [*expected, 255]


def test_premultiplied_grey() -> None:
    pixels = Image.fromarray(np.array([[[100, 255], [0, 0]]], np.uint8), "LA").convert("La")
    assert np.asarray(upright_rgb(pixels)).tolist() == [[[100] * 3, [255] * 3]]


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bits_keep_the_high_byte(file_format: str) -> None:
    grey = Image.fromarray(np.array([[0, 0x00FF, 0x1234, 0xFFFF]], np.uint16))
    assert decoded(grey, file_format) == [[0] * 3, [0] * 3, [0x12] * 3, [255] * 3]


def test_12_bits_fill_the_range() -> None:
    file = bytearray(encode(Image.fromarray(np.array([[0, 0]], np.uint16)), "TIFF"))
    bits_per_sample = file.index(b"\x02\x01\x03\0\x01\0\0\0") + 8
    file[bits_per_sample] = 12
    file[-4:-1] = b"\xff\xf1\x23"  # two values, packed
    assert np.asarray(decode_image(file))[0].tolist() == [[255] * 3, [0x12] * 3]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0, 0.25], [0, 128, 255, 64]),  # 1 is white
        ([0.25, 0.5, 0.25, 0.5], [64, 128, 64, 128]),
        ([-1.0, 0.0, 1.0, 3.0], [0, 64, 128, 255]),  # anything else is stretched
        ([np.nan, np.inf, -np.inf, 10.0], [0, 0, 0, 255]),
        ([-3e38, 3e38, 0.0, 0.0], [0, 255, 128, 128]),
        ([5.0, 5.0, 5.0, 5.0], [0, 0, 0, 0]),
    ],
)
def test_float_tiff(values: list[float], expected: list[int]) -> None:
    grey = Image.fromarray(np.array([values], np.float32))
    assert [pixel[0] for pixel in decoded(grey, "TIFF")] == expected


@pytest.mark.parametrize("mode", ["L", "I;16", "F"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_negatives_are_inverted(mode: str, compression: str) -> None:
    """Film and X-ray scanners declare 0 to be white: photometric interpretation 0."""
    values = np.array([[0, 64, 255]])
    scale, dtype = {"L": (1, np.uint8), "I;16": (256, np.uint16), "F": (1 / 255, np.float32)}[mode]
    grey = Image.fromarray((values * scale).astype(dtype))
    file = encode(grey, "TIFF", compression=compression)
    black_is_zero, white_is_zero = (struct.pack("<HHIH", 262, 3, 1, value) for value in (1, 0))
    assert file.count(black_is_zero) == 1
    pixels = np.asarray(decode_image(file.replace(black_is_zero, white_is_zero)))
    assert pixels[..., 0].tolist() == (255 - values).tolist()


def test_32_bit_integers_are_stretched() -> None:
    grey = Image.fromarray(np.array([[-1000, 0, 1000]], np.int32))
    assert [pixel[0] for pixel in decoded(grey, "TIFF")] == [0, 128, 255]


def test_cmyk_jpeg_has_the_colours_it_was_made_from() -> None:
    photo = Image.fromarray(PIXELS).resize((70, 50))
    file = encode(photo.convert("CMYK"), "JPEG", quality=100, subsampling=0)
    np.testing.assert_allclose(np.asarray(decode_image(file), int), np.asarray(photo), atol=8)


def test_ycck_jpeg_has_the_colours_it_was_made_from() -> None:
    photo = Image.fromarray(PIXELS).resize((70, 50))
    # As Photoshop writes it: all inverted, CMY turned to YCbCr. Pillow inverts once more.
    planes = [ImageOps.invert(plane) for plane in ImageOps.invert(photo).convert("YCbCr").split()]
    ycck = Image.merge("CMYK", [*planes, Image.new("L", photo.size, 0)])
    file = bytearray(encode(ycck, "JPEG", quality=100, subsampling=0))
    transform = file.index(b"Adobe") + 11
    assert file[transform] == 0
    file[transform] = 2  # YCCK
    np.testing.assert_allclose(np.asarray(decode_image(file), int), np.asarray(photo), atol=8)


@pytest.mark.parametrize(
    ("mode", "tolerance"),
    [
        ("LAB", 25),
        ("CMYK", 2),
        pytest.param(
            "YCbCr",
            4,
            marks=pytest.mark.skipif(
                int(PIL.__version__.split(".")[0]) < 13,
                reason="before Pillow 13 uncompressed YCbCr is refused",
            ),
        ),
    ],
)
def test_colour_spaces_of_tiff(mode: str, tolerance: int) -> None:
    photo = Image.fromarray(PIXELS).resize((70, 50))
    image = decode_image(encode(photo.convert(mode), "TIFF"))
    np.testing.assert_allclose(np.asarray(image, int), np.asarray(photo), atol=tolerance)

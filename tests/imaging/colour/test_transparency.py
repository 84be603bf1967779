from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from imaging.decode.decoder import decode_image
from tests.imaging.decode.differential.bmp_samples import BITFIELDS, pack_rows, write_bmp

COLOURS = np.random.default_rng(0).integers(0, 256, (7, 13, 3), np.uint8)


def encode(alpha: np.ndarray | int, file_format: str, colours: np.ndarray = COLOURS) -> bytes:
    layer = np.dstack((colours, np.broadcast_to(np.uint8(alpha), colours.shape[:2])))
    file = io.BytesIO()
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    Image.fromarray(layer).save(file, file_format, **options)
    return file.getvalue()


FORMATS = ["PNG", "WEBP", "TIFF"]


@pytest.mark.parametrize("file_format", FORMATS)
def test_colours_behind_an_empty_alpha_channel_are_shown(file_format: str) -> None:
    pixels = np.asarray(decode_image(encode(0, file_format)))
    np.testing.assert_array_equal(pixels, COLOURS)


def test_colours_behind_an_empty_alpha_channel_of_avif() -> None:
    pixels = np.asarray(decode_image(encode(0, "AVIF")), int)
    assert pixels.std() > 30  # lossy, but not a white page


@pytest.mark.parametrize("file_format", FORMATS)
def test_one_pixel_that_is_not_transparent_makes_the_others_white(file_format: str) -> None:
    alpha = np.zeros(COLOURS.shape[:2], np.uint8)
    alpha[2, 3] = 255
    pixels = np.asarray(decode_image(encode(alpha, file_format)))
    np.testing.assert_array_equal(pixels[2, 3], COLOURS[2, 3])
    assert (np.delete(pixels.reshape(-1, 3), 2 * 13 + 3, axis=0) == 255).all()


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("level", [0, 90, 255])
def test_an_empty_picture_is_white(file_format: str, level: int) -> None:
    flat = np.full_like(COLOURS, level)
    assert (np.asarray(decode_image(encode(0, file_format, flat))) == 255).all()


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_grey_and_palettes(mode: str) -> None:
    grey = Image.fromarray(COLOURS[..., 0])
    file = io.BytesIO()
    if mode == "LA":
        Image.merge("LA", (grey, Image.new("L", grey.size, 0))).save(file, "PNG")
    else:
        grey.convert("P").save(file, "PNG", transparency=bytes(256))
    pixels = np.asarray(decode_image(file.getvalue()))
    np.testing.assert_array_equal(pixels, np.repeat(COLOURS[..., :1], 3, axis=2))


def test_bitmaps_of_clipboards() -> None:
    """GDI leaves the fourth byte 0, and says that it is alpha."""
    red, green, blue = COLOURS.astype(np.uint32).transpose(2, 0, 1)
    rows = pack_rows(red << 16 | green << 8 | blue, 32)
    fields = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    file = write_bmp(rows, 32, header=124, masks=fields, compression=BITFIELDS)
    np.testing.assert_array_equal(np.asarray(decode_image(file)), COLOURS)

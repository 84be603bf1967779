"""What plain samples become, and what is refused by name or for its cost."""

from __future__ import annotations

import time
import tracemalloc
import zlib
from typing import Final

import numpy as np
import pytest

from imaging.decode.budget import PixelBudget
from imaging.decode.decoder import DecodedImage, decode_image, decoded_image
from imaging.decode.limits import BYTES_PER_PIXEL, DEFAULT_LIMITS, Limits
from imaging.decode.tiff import raster
from imaging.decode.tiff.directory import read_directories
from imaging.decode.tiff.reader import open_sampled
from imaging.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from scripts.stress.fuzz.tiff_writer import Values, tiff_file

JPEG, DEFLATE, PACKBITS = 7, 8, 32773
UNSIGNED, FLOAT = 1, 3
GDAL_NODATA = 42113


def decoded(data: bytes) -> DecodedImage:
    with decoded_image(data, DEFAULT_LIMITS, PixelBudget(10**6)) as image:
        return image


def rows_of(
    values: np.ndarray, tags: dict[int, Values] | None = None, photometric: int = 1
) -> bytes:
    """(H, W) or (H, W, C) -> an uncompressed file with a row in each strip."""
    height, width = values.shape[:2]
    channels = values[0, 0].size
    base: dict[int, Values] = {256: width, 257: height, 262: photometric, 277: channels, 278: 1}
    base |= {258: [8 * values.itemsize] * channels}
    base |= {339: [{"u": 1, "i": 2, "f": 3}[values.dtype.kind]] * channels}
    return tiff_file(({**base, **(tags or {})}, [row.tobytes() for row in values]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_valid_pixels_turn_with_the_picture(orientation: int) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = decoded(rows_of(values, {274: orientation, GDAL_NODATA: "7"}))
    assert image.valid is not None
    assert image.valid.shape == (image.pixels.height, image.pixels.width)
    pixels = np.asarray(image.pixels)[..., 0]
    np.testing.assert_array_equal(image.valid, pixels != 7)
    assert image.pixels.size == ((4, 3) if orientation < 5 else (3, 4))


@pytest.mark.parametrize(
    ("dtype", "text", "valid"),
    [
        ("u1", "7", [True, False, True]),
        ("u1", "7.0", [True, False, True]),
        ("u1", " 7 ", [True, False, True]),
        ("u1", "7.5", None),  # no sample can hold these
        ("u1", "-9999", None),
        ("u1", "nan", None),
        ("u1", "", None),
        ("u1", "seven", None),
        ("i2", "7", [True, False, True]),
        ("f4", "7", [True, False, True]),
        ("f4", "7.00000001", [True, False, True]),  # as 32 bits hold it
        ("f4", "1e400", None),
        ("f8", "7.00000001", [True, False, True]),  # and as GDAL compares
        ("f8", "7.0002", None),
    ],
)
def test_values_that_stand_for_nothing(dtype: str, text: str, valid: list[bool] | None) -> None:
    values = np.array([[0, 7, 9]], dtype)
    found = decoded(rows_of(values, {GDAL_NODATA: text})).valid
    assert (found if found is None else found[0].tolist()) == valid


@pytest.mark.parametrize("text", ["-3.40282e+38", "-3.4028235e+38", "-3.4028e+38"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_lowest_float_in_a_few_digits(dtype: str, text: str) -> None:
    lowest = float(np.finfo(np.float32).min)
    values = np.array([[0, lowest, 9, lowest / 1.001, -np.inf]], dtype)
    image = decoded(rows_of(values, {GDAL_NODATA: text}))
    assert image.valid is not None
    assert image.valid[0].tolist() == [True, False, True, True, True]


def test_infinity_that_stands_for_nothing() -> None:
    values = np.array([[0, np.inf, 9, -np.inf]], np.float32)
    found = decoded(rows_of(values, {GDAL_NODATA: "inf"})).valid
    assert found is not None
    assert found[0].tolist() == [True, False, True, True]


def test_nothing_is_where_all_colours_have_the_value() -> None:
    values = np.array([[[0, 0, 0], [0, 0, 9], [9, 9, 9]]], np.uint8)
    found = decoded(rows_of(values, {GDAL_NODATA: "0"}, photometric=2)).valid
    assert found is not None
    assert found.tolist() == [[False, True, True]]


def test_what_is_no_number_is_nothing() -> None:
    values = np.array([[np.nan, 100, 150, 200]], np.float32)
    image = decoded(rows_of(values))
    assert image.valid is not None
    assert image.valid.tolist() == [[False, True, True, True]]
    assert np.asarray(image.pixels)[0, :, 0].tolist() == [0, 0, 128, 255]


def test_strips_that_are_left_out_hold_nothing() -> None:
    tags: dict[int, Values] = {256: 2, 257: 3, 258: 8, 262: 1, 277: 1, 278: 1}
    image = decoded(tiff_file((tags, [b"\1\2", b"", b"\3\4"])))
    assert image.valid is not None
    assert image.valid.tolist() == [[True] * 2, [False] * 2, [True] * 2]
    assert np.asarray(image.pixels)[..., 0].tolist() == [[1, 2], [0, 0], [3, 4]]


def test_cmyk_with_alpha_is_laid_over_paper() -> None:
    inks = [[[0, 255, 255, 0, 255], [0, 255, 255, 0, 0]]]
    file = rows_of(np.array(inks, np.uint8), {338: 2}, photometric=5)
    assert np.asarray(decode_image(file)).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_colours_that_are_no_more_than_their_alpha_are_premultiplied() -> None:
    """Smoke, say: neither transparent nor opaque, and with the edges of its own alpha."""
    alpha = np.random.default_rng(0).integers(40, 200, (30, 40)).astype(np.uint8)
    values = np.stack([alpha // 2, alpha // 2, alpha // 2, alpha], axis=-1)
    pixels = np.asarray(decode_image(rows_of(values, {338: 1}, photometric=2)), int)
    expected = 255 - alpha + alpha // 2  # half grey under that much of white
    np.testing.assert_allclose(pixels[..., 0], expected, atol=2)


BASE: Final[dict[int, Values]] = {256: 4, 257: 1, 258: 8, 262: 1, 277: 1, 278: 1}
OTHER_KINDS: Final[dict[str, dict[int, Values]]] = {
    "of complex numbers": {258: 64, 339: 6},
    "of floats of 24 bits": {258: 24, 339: 3},
    "of unsigned integers of 24 bits": {258: 24},
    "whose samples differ": {258: [5, 6, 5], 262: 2, 277: 3},
    "with predictor 3 on samples of 16 bits": {258: 16, 259: DEFLATE, 317: 3},
    "with predictor 34892": {259: DEFLATE, 317: 34892},
    "with predictor 2 and PackBits": {259: PACKBITS, 317: 2},
    "of RGB pixels": {262: 2, 277: 1},
    "of inks other than CMYK": {258: [8] * 4, 262: 5, 277: 4, 332: 2},
    "with a palette": {258: 32, 262: 3},
    "with JPEG 2000 compression": {259: 34712},
    "with LERC compression": {259: 34887},
    "with WebP compression": {259: 50001},
    "with unknown compression": {259: 12345},
    "of LogLuv pixels": {262: 32845, 258: [16] * 3, 277: 3},
    "of CIELAB pixels": {262: 8, 258: [16] * 3, 277: 3},
    "of YCbCr pixels that do not state": {262: 6, 258: [8] * 3, 277: 3, 259: DEFLATE},
    "of uncompressed YCbCr pixels": {262: 6, 258: [8] * 3, 277: 3, 530: [2, 2]},
    "with JPEG compression of 1 channels of 12 bits": {258: 12, 259: 7},
    "with 2000 channels": {277: 2000},
    "of YCbCr pixels in planes": {258: [8] * 3, 259: JPEG, 262: 6, 277: 3, 284: 2},
    "of YCbCr pixels with 4 channels": {258: [8] * 4, 259: JPEG, 262: 6, 277: 4},
    "of YCbCr pixels with 1 channels": {259: JPEG, 262: 6},
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_are_refused_by_name(kind: str) -> None:
    piece = bytes(64)
    for order, big in (("<", False), (">", False), ("<", True)):
        file = tiff_file(({**BASE, **OTHER_KINDS[kind]}, [piece]), order=order, big=big)
        with pytest.raises(UnsupportedImage) as caught:
            decode_image(file)
        assert f"TIFF files {kind}" in caught.value.message
        assert caught.value.message.endswith("are not read. Save it again as plain JPEG or PNG.")
        assert caught.value.code == "unsupported_format"


@pytest.mark.parametrize(
    "tags",
    [
        {256: 0},
        {277: 0},
        {278: 0},
        {258: [8] * 3, 262: 2, 277: 3, 284: 3},
        {262: 3},  # a palette that is not there
        {262: 3, 320: [0] * 767},
        {322: 0, 323: 16},
        {257: 3},  # of three strips one
    ],
)
def test_what_contradicts_itself_is_damaged(tags: dict[int, Values]) -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(tiff_file(({**BASE, **tags}, [bytes(64)])))
    assert caught.value.code == "image_corrupt"


def test_pieces_that_end_early() -> None:
    values = np.zeros((8, 50), np.uint16)
    whole = rows_of(values)
    assert decode_image(whole).size == (50, 8)
    tags: dict[int, Values] = {**BASE, 256: 50, 257: 8, 258: 16, 278: 8}
    with pytest.raises(UnreadableImage):
        decode_image(tiff_file(({**tags, 259: DEFLATE}, [zlib.compress(bytes(799))])))
    with pytest.raises(UnreadableImage):
        decode_image(tiff_file(({**tags, 257: 8000, 278: 8000}, [bytes(800)])))


def test_memory_is_limited_before_anything_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64-bit floats, 50 megapixels in one strip would take several gigabytes."""
    monkeypatch.setattr(raster, "unpack", None)
    side = 6000
    tags: dict[int, Values] = {256: side, 257: side, 258: [64] * 3, 262: 2, 277: 3, 278: side}
    file = tiff_file(({**tags, 259: DEFLATE, 339: [FLOAT] * 3}, [bytes(1000)]))
    tracemalloc.start()
    with pytest.raises(ImageTooLarge, match="8 bits per channel") as caught:
        decode_image(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.details == {"width": side, "height": side, "max_pixels": 50_000_000}
    assert peak < 1_000_000


def test_memory_follows_from_the_limit() -> None:
    side, limits = 1000, Limits(max_pixels=1_000_000)
    pixels = np.random.default_rng(0).integers(0, 2**16, (side, side, 4), np.uint16)
    tags: dict[int, Values] = {256: side, 257: side, 258: [16] * 4, 262: 2, 277: 4, 278: side}
    file = tiff_file(({**tags, 259: DEFLATE, 317: 1, 338: 0}, [zlib.compress(pixels.tobytes(), 1)]))
    tracemalloc.start()
    decode_image(file, limits)
    _, peak = tracemalloc.get_traced_memory()  # of NumPy's arrays; Pillow's images are beside them
    tracemalloc.stop()
    assert peak < BYTES_PER_PIXEL * limits.max_pixels + 2 * len(file)


@pytest.mark.parametrize(
    ("size", "dtype", "bits", "tags"),
    [
        ((800, 800), "f4", 32, {262: 5, 277: 4}),
        ((800, 800), "f8", 64, {262: 5, 277: 4}),
        ((1500, 1500), "u1", 8, {262: 5, 277: 5, 338: 2}),
        ((2000, 500), "u1", 8, {262: 2, 277: 4, 338: 2}),  # of few rows all are compared
        ((800, 800), "f4", 32, {262: 2, 277: 5, 338: [0, 2]}),
        ((400, 400), "u1", 1, {262: 1, 277: 300, 338: [0] * 299}),  # a byte for each bit
    ],
)
def test_reading_takes_no_more_memory_than_it_states(
    size: tuple[int, int], dtype: str, bits: int, tags: dict[int, Values]
) -> None:
    width, height = size
    channels = tags[277]
    assert isinstance(channels, int)
    row = np.random.default_rng(0).integers(0, 200, width * channels * bits // 8 // int(dtype[1]))
    piece = zlib.compress(row.astype(dtype).tobytes() * height)
    number = FLOAT if dtype.startswith("f") else UNSIGNED
    base: dict[int, Values] = {256: width, 257: height, 258: [bits] * channels, 278: height}
    base |= {259: DEFLATE, 339: [number] * channels, **tags}
    file = tiff_file((base, [piece]))
    (directory,) = read_directories(file)
    tracemalloc.start()
    image = open_sampled(directory, max_seconds=10)
    image.read()
    _, peak = tracemalloc.get_traced_memory()  # of NumPy's arrays; Pillow's images are beside them
    tracemalloc.stop()
    strips = 6_000_000  # bytes of temporary copies, of an image of any size
    assert peak < image.num_bytes + strips + 2 * len(file)


def test_reading_stops_when_its_time_is_up() -> None:
    """Of many channels all are unpacked, though three are shown."""
    side, channels = 1000, 500
    piece = zlib.compress(bytes(side * channels), 9)
    tags: dict[int, Values] = {256: side, 257: side, 258: 8, 259: DEFLATE, 262: 1, 278: 1}
    file = tiff_file(({**tags, 277: channels}, [piece] * side))
    limits = Limits(max_seconds=0.05)
    started = time.thread_time()
    with pytest.raises(ImageTooLarge) as caught:
        decode_image(file, limits)
    assert caught.value.code == "image_too_slow"
    assert time.thread_time() - started < 10 * limits.max_seconds


@pytest.mark.parametrize("counts", [[6, 6], [0, 0], [1, 1], [2**32 - 1] * 2, [3], [3] * 9])
def test_stated_lengths_of_uncompressed_strips_do_not_matter(counts: list[int]) -> None:
    """Some writers state none, or wrong ones; where a strip ends follows from its pixels."""
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    file = tiff_file(({**BASE, 256: 3, 257: 2, 279: counts}, [row.tobytes() for row in values]))
    assert np.asarray(decode_image(file))[..., 0].tolist() == values.tolist()

"""Files that GDAL writes, read by it and by us: the same colours, the same pixels without data."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest
from rasterio import Affine
from rasterio.io import MemoryFile
from rasterio.windows import Window

from imaging.decode.budget import PixelBudget
from imaging.decode.decoder import DecodedImage, decoded_image
from imaging.decode.limits import DEFAULT_LIMITS

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

Array = npt.NDArray[np.generic]

HEIGHT, WIDTH = 150, 170  # px
BLOCK: Final = 64
HOLE: Final = (slice(20, 50), slice(30, 60))
DTYPES: Final = (*("uint8", "int8", "uint16", "int16"), *("uint32", "int32", "float32", "float64"))
COMPRESSIONS: Final = ("NONE", "LZW", "DEFLATE", "ZSTD", "LZMA", "PACKBITS")
FILES: Final = 2  # of each type, number of bands and value for no data: 320 in all
WITH_PREDICTOR: Final = ("LZW", "DEFLATE", "ZSTD")


def decoded(data: bytes) -> DecodedImage:
    with decoded_image(data, DEFAULT_LIMITS, PixelBudget(10**8)) as image:
        return image


def waves(bands: int, dtype: str) -> Array:
    """(bands, H, W) over the whole range of the type."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    shares = np.stack([(np.sin(x / 7 + i) + np.cos(y / 5 - i)) / 4 + 0.5 for i in range(bands)])
    shares[:, 0, 0], shares[:, 0, 1] = 0, 1
    if np.dtype(dtype).kind == "f":
        return shares.astype(dtype)
    limits = np.iinfo(dtype)
    scaled = limits.min + shares * (float(limits.max) - float(limits.min))
    return scaled.clip(limits.min, limits.max - 500 * (limits.bits == 32)).astype(dtype)


def as_bytes(bands: Array, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(bands, H, W) -> the same, 0 to 255: the high byte, or stretched over the valid pixels."""
    numbers = bands.astype(float)
    if bands.dtype.kind == "u" and bands.itemsize <= 2:
        return np.floor(numbers / 2 ** (8 * bands.itemsize - 8))
    black, white = numbers[:, valid].min(), numbers[:, valid].max()
    if black >= 0 and white <= 1:
        black, white = 0, 1
    return ((numbers - black) * 255 / (white - black)).clip(0, 255)


def file_of(
    values: Array, options: Mapping[str, object], *, sparse: bool = False
) -> tuple[bytes, Array]:
    """The file, and what GDAL reads from it; a sparse one holds the first blocks of each row."""
    bands, height, width = values.shape
    blocks = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK} if sparse else {}
    profile = {"width": width, "height": height, "count": bands, "dtype": values.dtype.name}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", **profile, **blocks, sparse_ok=sparse, **options) as file:
            if sparse:
                file.write(values[:, :, :BLOCK], window=Window(0, 0, BLOCK, height))
            else:
                file.write(values)
        data = bytes(memory.getbuffer())
        with memory.open() as file:
            return data, file.read()


@pytest.mark.slow
@pytest.mark.parametrize("sparse", [False, True], ids=["", "sparse"])
@pytest.mark.parametrize("no_data", [None, 0, 7, -99])
@pytest.mark.parametrize("bands", [1, 3, 6])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bands(dtype: str, bands: int, no_data: int | None, sparse: bool) -> None:
    if no_data is not None and no_data < 0 and dtype.startswith("u"):
        return  # GDAL refuses to write it
    values = waves(bands, dtype)
    if no_data is not None:
        values[:, HOLE[0], HOLE[1]] = no_data
    count = 3 if bands >= 3 else 1
    layouts = list(itertools.product(("PIXEL", "BAND"), ("LITTLE", "BIG"), ("YES", "NO")))
    choose = random.Random(f"{dtype} {bands} {no_data} {sparse}")
    compressions = choose.sample(COMPRESSIONS, FILES)
    for compression, layout in zip(compressions, choose.sample(layouts, FILES)):
        interleave, endianness, big = layout
        predictor = 3 if values.dtype.kind == "f" else 2
        coding = {"predictor": predictor} if compression in WITH_PREDICTOR else {}
        options = {"nodata": no_data, "compress": compression, "interleave": interleave}
        options |= {"endianness": endianness, "bigtiff": big, **coding}
        data, back = file_of(values, options, sparse=sparse)
        image = decoded(data)
        colours = back[:count]
        valid = np.ones((HEIGHT, WIDTH), np.bool_)
        if no_data is not None:
            valid = (colours != no_data).any(axis=0)
        if sparse:
            valid[:, BLOCK:] = False
        found = valid if image.valid is None else image.valid
        np.testing.assert_array_equal(found, valid)
        pixels = np.asarray(image.pixels, float).transpose(2, 0, 1)
        right = np.broadcast_to(as_bytes(colours, valid), pixels.shape)
        np.testing.assert_allclose(pixels, right, atol=1.1, rtol=0)


def test_near_infrared_that_gdal_calls_alpha() -> None:
    """Of four bands of bytes GDAL takes the last one for alpha unless it is told otherwise."""
    colours = waves(3, "uint8")
    infrared = (255 - colours[1:2] // 2 - 20).astype(np.uint8)
    values = np.concatenate((colours, infrared))
    expected = np.moveaxis(colours, 0, -1)
    for option in ({}, {"alpha": "premultiplied"}, {"alpha": "no"}, {"interleave": "BAND"}):
        data, _ = file_of(values, option)
        np.testing.assert_array_equal(np.asarray(decoded(data).pixels), expected)


def test_a_georeferenced_channel_that_is_neither_0_nor_1_is_no_alpha() -> None:
    """Elsewhere smooth transparency is transparency."""
    colours = waves(3, "uint8")
    ramp = np.linspace(60, 200, WIDTH).astype(np.uint8)
    values = np.concatenate((colours, np.broadcast_to(ramp, (1, HEIGHT, WIDTH))))
    expected = np.moveaxis(colours, 0, -1)
    place = {"crs": "EPSG:25832", "transform": Affine(0.2, 0, 4e5, 0, -0.2, 5e6)}
    placed, _ = file_of(values, place)
    np.testing.assert_array_equal(np.asarray(decoded(placed).pixels), expected)
    plain, _ = file_of(values, {})
    opacity = ramp[:, None].astype(float) / 255
    right = expected.astype(float) * opacity + 255 * (1 - opacity)
    np.testing.assert_allclose(np.asarray(decoded(plain).pixels, float), right, atol=1.1)


def test_jpeg_of_which_blocks_are_left_out() -> None:
    values = np.repeat(waves(1, "uint8"), 3, axis=0)
    data, back = file_of(values, {"compress": "JPEG", "photometric": "YCBCR"}, sparse=True)
    image = decoded(data)
    assert image.valid is not None
    assert image.valid[:, :BLOCK].all()
    assert not image.valid[:, BLOCK:].any()
    right = np.moveaxis(back, 0, -1).astype(float)
    np.testing.assert_allclose(np.asarray(image.pixels, float), right, atol=3)


def test_overviews_are_left_alone() -> None:
    values = waves(3, "uint8")
    with MemoryFile() as memory:
        size = {"width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8"}
        with memory.open(driver="GTiff", **size) as file:
            file.write(values)
            file.build_overviews([2, 4])
        data = bytes(memory.getbuffer())
    np.testing.assert_array_equal(np.asarray(decoded(data).pixels), np.moveaxis(values, 0, -1))

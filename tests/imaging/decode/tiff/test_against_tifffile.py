"""Every arrangement of samples, written and read by tifffile, read by us: the same or refused.

tifffile decodes with imagecodecs, so that it shares neither libtiff nor Pillow with us.
"""

from __future__ import annotations

import io
import itertools
import random
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from imaging.decode.decoder import decode_image
from imaging.errors import UnsupportedImage

Array = npt.NDArray[np.generic]
Order = Literal["<", ">"]

HEIGHT, WIDTH = 37, 53  # px, no multiple of a tile's or strip's sides
TILE: Final = (16, 32)
ROWS_PER_STRIP: Final = 10

DTYPES: Final = (*("u1", "i1", "u2", "i2", "u4", "i4"), *("f2", "f4", "f8"))
COMPRESSIONS: Final = (None, "lzw", "deflate", "packbits", "zstd", "lzma")
PLAIN, HORIZONTAL, FLOATING_POINT = 1, 2, 3

# What we refuse although tifffile reads it: (compression, predictor) -> the message, for a reason.
REFUSED: Final[dict[tuple[str | None, int], str]] = {
    # libtiff, and so GDAL, takes no notice of a predictor there: which of them is right depends on
    # who wrote the file.
    ("packbits", HORIZONTAL): "predictor 2 and PackBits",
    ("packbits", FLOATING_POINT): "predictor 3 and PackBits",
}


@dataclass(frozen=True)
class Kind:
    """What the channels of a file mean."""

    photometric: str
    channels: int
    extra: tuple[int, ...] = ()  # 0 unspecified, 1 premultiplied alpha, 2 alpha

    @property
    def alpha(self) -> int | None:
        """The channel that is alpha."""
        first = self.channels - len(self.extra)
        return next((first + at for at, meaning in enumerate(self.extra) if meaning), None)


KINDS: Final = {
    "grey": Kind("minisblack", 1),
    "negative": Kind("miniswhite", 1),
    "grey, alpha": Kind("minisblack", 2, (2,)),
    "two bands": Kind("minisblack", 2, (0,)),
    "three bands": Kind("minisblack", 3, (0, 0)),
    "five bands": Kind("minisblack", 5, (0, 0, 0, 0)),
    "rgb": Kind("rgb", 3),
    "rgb, alpha": Kind("rgb", 4, (2,)),
    "rgb, premultiplied": Kind("rgb", 4, (1,)),
    "rgb, infrared": Kind("rgb", 4, (0,)),
    "rgb, infrared, alpha": Kind("rgb", 5, (0, 2)),
    "cmyk": Kind("separated", 4),
}


def picture(kind: Kind, dtype: str) -> Array:
    """(H, W, channels) waves and noise over the whole range of the type, alpha a soft disc."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(0).normal(0, 0.02, (HEIGHT, WIDTH))
    waves = [(np.sin(x / 7 + i) + np.cos(y / 5 - 2 * i)) / 4 + 0.5 for i in range(kind.channels)]
    shares = np.clip(np.stack(waves, axis=-1) + noise[..., None], 0, 1)
    shares[0, 0], shares[0, 1] = 0, 1
    if kind.alpha is not None:
        shares[..., kind.alpha] = np.clip((14 - np.hypot(y - 18, x - 26)) / 6 + 0.5, 0, 1)
        if 1 in kind.extra:
            shares[..., :3] *= shares[..., 3:]
    if np.dtype(dtype).kind == "f":
        return shares.astype(dtype)
    limits = np.iinfo(dtype)
    scaled = limits.min + shares * (float(limits.max) - float(limits.min))
    return scaled.clip(limits.min, limits.max - 500 * (limits.bits == 32)).astype(dtype)


def expected(values: Array, kind: Kind) -> npt.NDArray[np.float64]:
    """(H, W, channels) -> RGB, (H, W, 3), 0 to 255, by formulas over the whole array."""
    if kind.photometric == "separated":
        inks = share(values)
        return (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    alpha = kind.alpha
    count = 3 if kind.channels - (alpha is not None) >= 3 else 1
    colours = stretched(values[..., :count])
    if kind.photometric == "miniswhite":
        colours = 255 - colours
    if alpha is not None:
        opacity = share(values[..., alpha, None]) / 255
        if 1 not in kind.extra:
            colours = colours * opacity
        colours = np.minimum(colours, 255 * opacity) + 255 * (1 - opacity)
    return np.broadcast_to(colours, (*colours.shape[:2], 3))


def stretched(values: Array) -> npt.NDArray[np.float64]:
    if values.dtype.kind == "u" and values.itemsize <= 2:
        return high_bytes(values)
    numbers = values.astype(float)
    black, white = numbers.min(), numbers.max()
    if black >= 0 and white <= 1:
        black, white = 0, 1
    return (numbers - black) * 255 / (white - black)


def share(values: Array) -> npt.NDArray[np.float64]:
    if values.dtype.kind == "f":
        return values.astype(float).clip(0, 1) * 255
    if values.dtype.kind == "u":
        return high_bytes(values)
    return values.astype(float).clip(0) * (255 / np.iinfo(values.dtype.str).max)


def high_bytes(values: Array) -> npt.NDArray[np.float64]:
    return np.floor(values.astype(float) / 2 ** (8 * values.itemsize - 8))


def predictors(dtype: str, compression: str | None) -> tuple[int, ...]:
    """Those that tifffile writes."""
    if compression is None:
        return (PLAIN,)
    return (PLAIN, FLOATING_POINT if np.dtype(dtype).kind == "f" else HORIZONTAL)


@dataclass(frozen=True)
class Arrangement:
    """How the same samples are stored."""

    compression: str | None
    predictor: int
    order: Order
    big: bool
    in_planes: bool
    in_tiles: bool


def arrangements(dtype: str, name: str) -> list[Arrangement]:
    """Each compression with each predictor, the rest in an order of the name's own.

    Over all types and kinds every combination occurs.
    """
    flags = (False, True)
    orders: tuple[Order, ...] = ("<", ">")
    rest = list(itertools.product(orders, flags, flags, flags))
    random.Random(dtype + name).shuffle(rest)
    coded = [(each, p) for each in COMPRESSIONS for p in predictors(dtype, each)]
    return [
        Arrangement(compression, predictor, *others)
        for (compression, predictor), others in zip(coded, itertools.cycle(rest))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_samples(dtype: str, name: str) -> None:
    kind = KINDS[name]
    values = picture(kind, dtype)
    if 1 in kind.extra and values.dtype.kind == "i":
        return  # a colour of 0 is half of the range: no colours times alpha
    for arrangement in arrangements(dtype, name):
        stored = values.squeeze()
        separate = arrangement.in_planes and kind.channels > 1
        if separate:
            stored = np.moveaxis(values, -1, 0)
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            stored,
            byteorder=arrangement.order,
            bigtiff=arrangement.big,
            compression=arrangement.compression,
            predictor=arrangement.predictor if arrangement.predictor != PLAIN else None,
            tile=TILE if arrangement.in_tiles else None,
            rowsperstrip=None if arrangement.in_tiles else ROWS_PER_STRIP,
            photometric=kind.photometric,
            planarconfig="separate" if separate else None,
            extrasamples=kind.extra or None,
            metadata=None,
        )
        np.testing.assert_array_equal(tifffile.imread(io.BytesIO(file.getvalue())), stored)
        refused = REFUSED.get((arrangement.compression, arrangement.predictor))
        if refused:
            with pytest.raises(UnsupportedImage, match=refused):
                decode_image(file.getvalue())
            continue
        pixels = np.asarray(decode_image(file.getvalue()), float)
        # Colours that were multiplied by alpha in 8 bits and divided again are off by a little.
        tolerance = 3 if 1 in kind.extra else 1.6
        right = expected(values, kind)
        np.testing.assert_allclose(pixels, right, atol=tolerance, rtol=0, err_msg=str(arrangement))


@dataclass(frozen=True)
class JpegKind:
    """How pixels of 8 bits are stored as JPEG; RGB as YCbCr, unless it says otherwise."""

    photometric: str
    subsampling: tuple[int, int] | None = None
    as_rgb: bool = False
    in_planes: bool = False

    @property
    def channels(self) -> int:
        return {"rgb": 3, "separated": 4}.get(self.photometric, 1)


JPEG_KINDS: Final = {
    "grey": JpegKind("minisblack"),
    "negative": JpegKind("miniswhite"),
    "4:4:4": JpegKind("rgb"),
    "4:2:0": JpegKind("rgb", subsampling=(2, 2)),
    "rgb": JpegKind("rgb", as_rgb=True),
    "planes": JpegKind("rgb", in_planes=True),
    "cmyk": JpegKind("separated"),
}


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (64, 64)], ids=["strips", "tiles"])
@pytest.mark.parametrize("kind", JPEG_KINDS.values(), ids=JPEG_KINDS)
def test_jpeg(kind: JpegKind, tile: tuple[int, int] | None, order: Order, big: bool) -> None:
    values = picture(Kind(kind.photometric, kind.channels), "u1").astype(np.uint8)
    values = np.asarray(Image.fromarray(values.squeeze()).resize((150, 100)))
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.moveaxis(values, -1, 0) if kind.in_planes else values,
        byteorder=order,
        bigtiff=big,
        compression="jpeg",
        compressionargs={"outcolorspace": "rgb"} if kind.as_rgb else None,
        subsampling=kind.subsampling,
        planarconfig="separate" if kind.in_planes else None,
        tile=tile,
        rowsperstrip=None if tile else 32,
        photometric=kind.photometric,
        metadata=None,
    )
    decoded = tifffile.imread(io.BytesIO(file.getvalue()))
    decoded = np.moveaxis(decoded, 0, -1) if kind.in_planes else decoded
    right = expected(decoded.reshape(100, 150, -1), Kind(kind.photometric, kind.channels))
    pixels = np.asarray(decode_image(file.getvalue()), float)
    # imagecodecs and Pillow bring libjpeg-turbos of their own.
    np.testing.assert_allclose(pixels, right, atol=3, rtol=0)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw"])
@pytest.mark.parametrize("mode", ["1", "L"])
def test_files_of_pillow(mode: str, compression: str) -> None:
    """Bilevel and grey; of what libtiff writes, tifffile reads all."""
    if mode == "L" and compression in ("group3", "group4", "tiff_ccitt"):
        return  # fax has one bit
    waves = picture(KINDS["grey"], "u1").squeeze()
    image = Image.fromarray(waves).convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF", compression=compression)
    found = tifffile.imread(io.BytesIO(file.getvalue()))
    right = np.where(found, 255, 0) if mode == "1" else found
    pixels = np.asarray(decode_image(file.getvalue()))
    np.testing.assert_array_equal(pixels, np.repeat(right[..., None], 3, axis=2))

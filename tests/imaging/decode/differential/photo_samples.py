"""JPEG, WebP, GIF, AVIF and HEIC, in the kinds that cameras and programs write."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

import cv2
import numpy as np
import pyvips
from PIL import Image

from imaging.decode.formats import READ_FORMATS
from tests.imaging.decode.differential.sample import (
    Pixels,
    Sample,
    encode,
    over_white,
    smooth_photo,
)

WIDTH, HEIGHT = 52, 37
PHOTO = smooth_photo(WIDTH, HEIGHT)
RIGHT = np.asarray(PHOTO)

# Levels that lossy coding at its best quality costs, chroma in full and at half resolution.
LOSS, CHROMA_LOSS = 12, 45


def photo_samples() -> Iterator[Sample]:
    yield from jpeg_samples()
    yield from orientation_samples()
    yield from webp_samples()
    yield from gif_samples()
    yield from heif_samples()
    yield from profile_samples()


def jpeg_samples() -> Iterator[Sample]:
    sizes = ((WIDTH, HEIGHT), (1, 1), (8, 8), (16, 16), (17, 33))
    for size, subsampling, progressive in itertools.product(sizes, (0, 1, 2), (False, True)):
        photo = PHOTO.crop((0, 0, *size))
        options = {"quality": 98, "subsampling": subsampling, "progressive": progressive}
        file = encode(photo, "JPEG", **options)
        bound = CHROMA_LOSS if subsampling else LOSS
        name = f"jpeg-{size[0]}x{size[1]}-{subsampling}{'-progressive' if progressive else ''}"
        yield Sample(name, file, np.asarray(photo), bound)
        yield Sample(f"{name}-no-end", file[:-2], np.asarray(photo), bound)
        yield Sample(f"{name}-half-an-end", file[:-1], np.asarray(photo), bound)
        yield Sample(f"{name}-trailing", file + b"\0\xff\xd8trailing", np.asarray(photo), bound)
    for interval, progressive in itertools.product((1, 3, 100), (False, True)):
        flags = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_RST_INTERVAL, interval]
        flags += [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
        _, data = cv2.imencode(".jpg", RIGHT[..., ::-1], flags)
        name = f"jpeg-restart-{interval}{'-progressive' if progressive else ''}"
        yield Sample(name, data.tobytes(), RIGHT, CHROMA_LOSS)
        yield Sample(f"{name}-no-end", data.tobytes()[:-2], RIGHT, CHROMA_LOSS)
    grey = PHOTO.convert("L")
    for progressive in (False, True):
        file = encode(grey, "JPEG", quality=98, progressive=progressive)
        name = f"jpeg-grey{'-progressive' if progressive else ''}"
        yield Sample(name, file, np.asarray(grey.convert("RGB")), LOSS)
        yield Sample(f"{name}-no-end", file[:-2], np.asarray(grey.convert("RGB")), LOSS)
    cmyk = encode(PHOTO.convert("CMYK"), "JPEG", quality=98, subsampling=0)
    yield Sample("jpeg-cmyk-adobe", cmyk, RIGHT, LOSS)


def orientation_samples() -> Iterator[Sample]:
    """Where EXIF is: JPEG's APP1, PNG's eXIf, WebP's EXIF chunk. The reference is in NumPy."""
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        right = upright(RIGHT, orientation)
        files = {
            "jpeg": (encode(PHOTO, "JPEG", quality=98, subsampling=0, exif=exif), LOSS),
            "png": (encode(PHOTO, "PNG", exif=exif), 0),
            "webp": (encode(PHOTO, "WEBP", lossless=True, exif=exif), 0),
        }
        for name, (file, bound) in files.items():
            yield Sample(f"{name}-orientation-{orientation}", file, right, bound)


def upright(stored: Pixels, orientation: int) -> Pixels:
    """Exif 2.32, tag 0x0112: which side of the picture row 0 and column 0 are."""
    turned = stored.transpose(1, 0, 2) if orientation > 4 else stored
    flip_rows, flip_columns = {
        **{1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0)},
        **{5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)},
    }[orientation]
    return turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def webp_samples() -> Iterator[Sample]:
    alpha = np.asarray(PHOTO.convert("L"))
    layer = Image.fromarray(np.dstack((RIGHT, alpha)))
    white = over_white(RIGHT, alpha / 255)
    second = PHOTO.transpose(Image.Transpose.ROTATE_180)
    for method in (0, 4, 6):
        yield Sample(
            f"webp-lossless-{method}", encode(PHOTO, "WEBP", lossless=True, method=method), RIGHT
        )
        yield Sample(
            f"webp-lossy-{method}",
            encode(PHOTO, "WEBP", quality=98, method=method),
            RIGHT,
            CHROMA_LOSS,
        )
        file = encode(layer, "WEBP", lossless=True, exact=True, method=method)
        yield Sample(f"webp-alpha-lossless-{method}", file, white, 1)
        yield Sample(
            f"webp-alpha-lossy-{method}",
            encode(layer, "WEBP", quality=98, method=method),
            white,
            CHROMA_LOSS,
        )
    for lossless in (False, True):
        for kind, first in (("opaque", PHOTO), ("alpha", layer)):
            file = encode(first, "WEBP", lossless=lossless, quality=98, exact=True, save_all=True,
                          append_images=[second], duration=100)  # fmt: skip
            right = RIGHT if kind == "opaque" else white
            name = f"webp-animated-{kind}{'-lossless' if lossless else ''}"
            yield Sample(name, file, right, 1 if lossless else CHROMA_LOSS)


def gif_samples() -> Iterator[Sample]:
    for colours in (2, 3, 16, 200, 256):
        image = PHOTO.quantize(colours)
        right = np.asarray(image.convert("RGB"))
        second = image.transpose(Image.Transpose.ROTATE_180)
        for interlace in (0, 1):
            yield Sample(
                f"gif-{colours}-{interlace}", encode(image, "GIF", interlace=interlace), right
            )
        alpha = np.asarray(image) != np.asarray(image)[0, 0]
        key = int(np.asarray(image)[0, 0])
        file = encode(image, "GIF", transparency=key, optimize=False)
        yield Sample(f"gif-{colours}-transparent", file, over_white(right, alpha.astype(float)))
        file = encode(image, "GIF", save_all=True, append_images=[second], optimize=False)
        yield Sample(f"gif-{colours}-animated", file, right)
    grey = PHOTO.convert("L")
    yield Sample("gif-grey", encode(grey, "GIF"), np.asarray(grey.convert("RGB")))


def heif_samples() -> Iterator[Sample]:
    alpha = np.asarray(PHOTO.convert("L"))
    layer = Image.fromarray(np.dstack((RIGHT, alpha)))
    white = over_white(RIGHT, alpha / 255)
    if "AVIF" in READ_FORMATS:
        for subsampling, bound in (("4:4:4", LOSS), ("4:2:2", CHROMA_LOSS), ("4:2:0", CHROMA_LOSS)):
            options = {"quality": 98, "subsampling": subsampling}
            yield Sample(f"avif-{subsampling}", encode(PHOTO, "AVIF", **options), RIGHT, bound)
            yield Sample(
                f"avif-alpha-{subsampling}", encode(layer, "AVIF", **options), white, bound
            )
            file = encode(PHOTO, "AVIF", save_all=True, append_images=[layer], **options)
            yield Sample(f"avif-animated-{subsampling}", file, RIGHT, bound)
        yield Sample(
            "avif-grey",
            encode(PHOTO.convert("L"), "AVIF", quality=98),
            np.dstack([alpha] * 3),
            LOSS,
        )
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            file = encode(PHOTO, "AVIF", quality=98, subsampling="4:4:4", exif=exif)
            yield Sample(f"avif-orientation-{orientation}", file, upright(RIGHT, orientation), LOSS)
    if "HEIC" in READ_FORMATS:
        import pillow_heif

        for chroma, bound in ((444, LOSS), (422, CHROMA_LOSS), (420, CHROMA_LOSS)):
            for kind, image, right in (("opaque", PHOTO, RIGHT), ("alpha", layer, white)):
                buffer = io.BytesIO()
                pillow_heif.from_pillow(image).save(buffer, quality=98, chroma=chroma)
                yield Sample(f"heic-{kind}-{chroma}", buffer.getvalue(), right, bound)


def profile_samples() -> Iterator[Sample]:
    """libvips' own profiles, each in the formats that hold one; libvips tells what is right."""
    display_p3, printer = (pyvips.Image.profile_load(name) for name in ("p3", "cmyk"))
    formats: dict[str, dict[str, object]] = {
        "JPEG": {"quality": 98, "subsampling": 0},
        "PNG": {},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 98, "subsampling": "4:4:4"},
    }
    for name, options in formats.items():
        file = encode(PHOTO, name, icc_profile=display_p3, **options)
        yield Sample(f"{name.lower()}-display-p3", file, None)
    inks = PHOTO.convert("CMYK")
    yield Sample("jpeg-printer", encode(inks, "JPEG", quality=98, icc_profile=printer), None)

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageOps, PngImagePlugin

from imaging.decode.decoder import decode_image, upright_rgb

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)

# Orientation -> the rows and columns that a camera held that way stores of an upright picture.
STORED = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: PIXELS.transpose(1, 0, 2)[::-1],
    7: PIXELS.transpose(1, 0, 2)[::-1, ::-1],
    8: PIXELS.transpose(1, 0, 2)[:, ::-1],
}


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation_is_undone(orientation: int, file_format: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    file = encode(stored, file_format, exif=exif(orientation), lossless=True)
    np.testing.assert_array_equal(np.asarray(decode_image(file)), PIXELS)


@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda s: (*s, 3))),
    st.sampled_from([*STORED]),
)
def test_pillow_s_own_way_gives_the_same(pixels: np.ndarray, orientation: int) -> None:
    image = Image.fromarray(pixels)
    image.info["exif"] = exif(orientation).tobytes()
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(np.asarray(upright_rgb(image)), expected)


@pytest.mark.parametrize("orientation", STORED)
def test_orientation_of_jpeg(orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    image = decode_image(encode(stored, "JPEG", exif=exif(orientation), quality=100, subsampling=0))
    np.testing.assert_allclose(np.asarray(image, int), PIXELS, atol=12)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "tags",
    [
        b"",
        b"nonsense",
        b"II*\0\xff\xff\xff\xff",  # its directory lies beyond the end
        exif(0).tobytes()[6:],
        exif(9).tobytes()[6:],
        # Empty ASCII strings as the orientation, and as the resolution (0x011A, 0x0128)
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0\0\0\0\0\0\0\0\0",
        b"II*\0\x08\0\0\0\x02\0\x1a\x01\x02\0\x01\0\0\0\0\0\0\0\x28\x01\x03\0\x01\0\0\0\x02\0\0\0"
        b"\0\0\0\0",
    ],
)
def test_broken_exif_costs_nothing_but_itself(tags: bytes, file_format: str) -> None:
    file = encode(Image.fromarray(PIXELS), file_format, exif=b"Exif\0\0" + tags)
    jfif_with_its_resolution = slice(2, 20)
    if file_format == "JPEG":  # without JFIF, as in cameras' files, Pillow looks into EXIF for it
        file = file[: jfif_with_its_resolution.start] + file[jfif_with_its_resolution.stop :]
    assert decode_image(file).size == (7, 5)


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_xmp_turns_nothing(file_format: str, compression: str | None) -> None:
    """Browsers and OpenCV obey EXIF alone, and so does whoever lays a mask over their picture."""
    image = Image.fromarray(PIXELS)
    options: dict[str, object] = {"xmp": XMP, "compression": compression}
    if file_format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode("ascii"))
        options = {"pnginfo": info}
    elif file_format == "TIFF":
        options = {"tiffinfo": {700: XMP}, "compression": compression}
    file = encode(image, file_format, **options)
    assert b"tiff:Orientation" in file
    assert decode_image(file).size == image.size


def test_exif_in_a_text_of_png_turns_nothing() -> None:
    """Programs wrote it before PNG had a chunk for it; neither browsers nor OpenCV read it."""
    hexadecimal = exif(6).tobytes().hex()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(hexadecimal) // 2}\n{hexadecimal}\n")
    image = Image.fromarray(PIXELS)
    assert decode_image(encode(image, "PNG", pnginfo=info)).size == image.size


def test_a_text_of_megabytes_is_not_read_as_exif() -> None:
    """Pillow would split it into a million lines."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", "ab\n" * 1_000_000)
    file = encode(Image.new("RGB", (4, 3), "teal"), "PNG", pnginfo=info)
    tracemalloc.start()
    try:
        decode_image(file)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()

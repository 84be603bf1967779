from __future__ import annotations

import io
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imaging.decode.formats import (
    READ_FORMATS,
    canvas_of,
    check_structure,
    ends_early,
    format_of,
    frames_in,
)
from imaging.decode.tiff import MAX_VALUES
from imaging.errors import ImageError, UnreadableImage, UnsupportedImage


def encode(file_format: str, **options: object) -> bytes:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def tiff_with_table(num_values: int, order: str, *, big: bool = False) -> bytes:
    """A directory whose one entry is a table of strip offsets (273) of type LONG (4)."""
    offset = "Q" if big else "I"
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    header += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    directory = struct.pack(order + ("Q" if big else "H"), 1)
    directory += struct.pack(order + f"HH{offset}{offset}", 273, 4, num_values, 100)
    return header + directory + bytes(4 * num_values)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"])
def test_formats_read(name: str) -> None:
    assert format_of(encode(name)) == name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC files are not read."),
        (b"\0\0\0\x1cftypmif1\0\0\0\0", "HEIC files are not read."),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF files are not read."),
        (b"%PDF-1.7\n", "PDF files are not read."),
        (
            b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg width="1">',
            "SVG files are not read.",
        ),
        (b'{"image": "no"}', "The format of these bytes is not read."),
        (b"BM, he said, and left it at that", "The format of these bytes is not read."),
        (b"\xff", "The format of these bytes is not read."),
    ],
)
def test_other_formats_are_named(data: bytes, message: str) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        format_of(data)
    assert caught.value.message == f"{message} Send one of: JPEG, PNG, WebP, BMP, TIFF, GIF."
    assert caught.value.details == {"formats": ["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"]}


@pytest.mark.parametrize(
    "file",
    [
        encode("JPEG", progressive=True, exif=Image.Exif()),
        encode("PNG", icc_profile=b"profile"),
        tiff_with_table(MAX_VALUES, "<"),
        tiff_with_table(MAX_VALUES + 1, "<")[:1000],  # a table that is not there costs nothing
    ],
)
def test_ordinary_structure_passes(file: bytes) -> None:
    check_structure(file, format_of(file))


@pytest.mark.parametrize(
    "file",
    [
        encode("JPEG").replace(b"\xff\xda\0", 101 * b"\xff\xda\0"),
        encode("JPEG").replace(b"\xff\xd8", b"\xff\xd8" + 101 * b"\xff\xe1\0\x09Exif\0\0\0"),
        encode("JPEG").replace(b"\xff\xd8", b"\xff\xd8" + 1001 * b"\xff\xe5\0\2"),
        encode("JPEG").replace(b"\xff\xd8", b"\xff\xd8" + 3000 * b"\xff"),
        encode("PNG") + 101 * b"iCCP",
        encode("PNG").replace(b"\0\0\0\0IEND", 20_000 * b"\0\0\0\0prVtCRC!" + b"\0\0\0\0IEND"),
        tiff_with_table(MAX_VALUES + 1, "<"),
        tiff_with_table(MAX_VALUES + 1, ">"),
        tiff_with_table(MAX_VALUES + 1, "<", big=True),
    ],
)
def test_structure_that_multiplies_work_is_refused(file: bytes) -> None:
    with pytest.raises(UnreadableImage) as caught:
        check_structure(file, format_of(file))
    assert caught.value.code == "image_too_complex"


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_structure_of_any_beginning_can_be_checked(name: str) -> None:
    file = encode(name)
    for length in range(len(file)):
        check_structure(file[:length], name)


@pytest.mark.parametrize(("name", "num_frames"), [("PNG", 4), ("WebP", 4), ("GIF", 3)])
def test_frames_are_counted(name: str, num_frames: int) -> None:
    assert frames_in(encode(name), name) == 1
    images = [Image.new("RGB", (50, 40), colour) for colour in ("red", "green", "blue")]
    assert frames_in(encode(name, save_all=True, append_images=images), name) == num_frames


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}], ids=str)
def test_canvas_of_webp(options: dict[str, object]) -> None:
    file = encode("WEBP", **options)
    assert canvas_of(file, "WebP") == (50, 40)
    assert {canvas_of(file[:length], "WebP") for length in range(24)} == {None}
    assert canvas_of(encode("PNG"), "PNG") is None


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_end_of_tiff(compression: str) -> None:
    file = encode("TIFF", compression=compression)
    assert not ends_early(file, "TIFF")
    assert ends_early(file[:-1500], "TIFF")


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "BMP", "GIF"])
def test_end_of_file(name: str) -> None:
    file = encode(name)
    assert not ends_early(file, name)
    assert not ends_early(file + b"\0\0", name)  # padded
    assert ends_early(file[:-2], name)


HEADS = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "WebP": b"RIFF\0\0\0\0WEBPVP8X",
    "BMP": b"BM" + bytes(12) + b"\x28\0\0\0",
    "TIFF": b"II*\0",
    "GIF": b"GIF89a",
}


@given(st.sampled_from([*HEADS]), st.binary(max_size=200))
def test_any_bytes_behind_a_signature_can_be_judged(name: str, rest: bytes) -> None:
    file = HEADS[name] + rest
    assert format_of(file) == name
    with suppress(ImageError, ValueError):
        check_structure(file, name)
    assert frames_in(file, name) >= 1
    assert isinstance(ends_early(file, name), bool)
    canvas = canvas_of(file, name)
    assert canvas is None or min(canvas) >= 0


@given(st.binary(max_size=100))
def test_any_bytes_have_a_format_or_are_unsupported(data: bytes) -> None:
    with suppress(UnsupportedImage):
        assert format_of(data) in READ_FORMATS


@given(st.integers(1, 16_384), st.integers(1, 16_384))
def test_canvas_is_the_one_in_the_header(width: int, height: int) -> None:
    sides = [(side - 1).to_bytes(3, "little") for side in (width, height)]
    extended = b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"".join(sides)
    bits = (width - 1) | (height - 1) << 14
    lossless = b"RIFF\0\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + struct.pack("<I", bits)
    assert canvas_of(extended, "WebP") == canvas_of(lossless, "WebP") == (width, height)

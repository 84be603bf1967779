from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imaging.decode.formats import READ_FORMATS, format_of
from imaging.errors import UnsupportedImage


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"])
def test_formats_read(name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (50, 40)).save(file, name)
    assert format_of(file.getvalue()) == name


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


@given(st.binary(max_size=100))
def test_any_bytes_have_a_format_or_are_unsupported(data: bytes) -> None:
    with suppress(UnsupportedImage):
        assert format_of(data) in READ_FORMATS

from __future__ import annotations

import io
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imaging.decode.formats import READ_FORMATS, format_of
from imaging.errors import UnsupportedImage


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "AVIF"])
def test_formats_read(name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (50, 40)).save(file, name)
    assert format_of(file.getvalue()) == name


@pytest.mark.parametrize(
    ("brands", "name"),
    [
        (b"avif\0\0\0\0mif1miaf", "AVIF"),
        (b"mif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"avis\0\0\0\0msf1", "AVIF"),
        (b"heic\0\0\0\0mif1heic", "HEIC"),
        (b"mif1\0\0\0\0mif1heic", "HEIC"),
        (b"msf1\0\0\0\0hevc", "HEIC"),
    ],
)
def test_brands(brands: bytes, name: str) -> None:
    assert format_of(b"\0\0\0" + bytes([8 + len(brands)]) + b"ftyp" + brands) == name


HTML = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body><svg></svg></body></html>"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0jpeg", "HEIF files are not read."),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41", "MP4 files are not read."),
        (b"\xff\x0a\xff", "JPEG XL files are not read."),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000 files are not read."),
        (b"%PDF-1.7\n", "PDF files are not read."),
        (
            b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg width="1">',
            "SVG files are not read.",
        ),
        (
            HTML,
            "HTML files are not read. If it came from an address, that probably returned a page,",
        ),
        (HTML.lower().partition(b"\n")[2], "HTML files are not read. If it came"),
        (b"<!-- 502 -->\n" + HTML.upper(), "HTML files are not read. If it came"),
        (b'{"image": "<svg>"}', "The format of these bytes is not read."),
        (b"<Error><Code>NoSuchKey</Code></Error>", "The format of these bytes is not read."),
        (b"BM, he said, and left it at that", "The format of these bytes is not read."),
        (b"\xff", "The format of these bytes is not read."),
    ],
)
def test_other_formats_are_named(data: bytes, message: str) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        format_of(data)
    assert caught.value.message.startswith(message)
    assert caught.value.message.endswith(f"Send one of: {', '.join(READ_FORMATS)}.")
    assert caught.value.details == {"formats": list(READ_FORMATS)}


def test_a_format_that_this_installation_lacks_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("imaging.decode.formats.READ_FORMATS", ("JPEG", "PNG"))
    for brand, name, way_out in ((b"heic", "HEIC", "pillow-heif"), (b"avif", "AVIF", "Pillow 11")):
        with pytest.raises(UnsupportedImage) as caught:
            format_of(b"\0\0\0\x14ftyp" + brand + bytes(8))
        assert caught.value.message.startswith(f"{name} files are not read.")
        assert way_out in caught.value.message
        assert caught.value.details == {"formats": ["JPEG", "PNG"]}


@pytest.mark.parametrize("start", [b"<!-- ", b"<?xml ", b" " * 9, b"<!-- -->", b"<!doctype svg "])
def test_a_signature_is_not_searched_for_long(start: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(UnsupportedImage):
        format_of(start * 100_000)
    assert time.thread_time() - started < 0.2


@given(st.binary(max_size=100))
def test_any_bytes_have_a_format_or_are_unsupported(data: bytes) -> None:
    with suppress(UnsupportedImage):
        assert format_of(data) in READ_FORMATS

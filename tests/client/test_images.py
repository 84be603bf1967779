"""Which bytes are sent for an image in its Python forms."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from segmenter_client import segment
from segmenter_client.images import image_bytes
from tests.photos import encoded, photo


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_pictures_of_other_modes_are_sent_as_rgb(mode: str) -> None:
    picture = Image.new("RGB", (4, 3), "teal") if mode != "LAB" else Image.new("LAB", (4, 3))
    sent = Image.open(io.BytesIO(image_bytes(picture if mode == "LAB" else picture.convert(mode))))
    assert (sent.format, sent.mode, sent.size) == ("PNG", "RGB", (4, 3))


def test_32_bits_are_sent_as_16() -> None:
    picture = Image.fromarray(np.array([[0, 300, 70_000]], np.int32))
    sent = Image.open(io.BytesIO(image_bytes(picture)))
    assert np.asarray(sent).tolist() == [[0, 300, 65_535]]


def test_big_endian_16_bits_stay_16_bits() -> None:
    picture = Image.frombytes("I;16B", (2, 1), b"\x01\x02\xff\xff")
    sent = Image.open(io.BytesIO(image_bytes(picture)))
    assert np.asarray(sent).tolist() == [[258, 65_535]]


@pytest.mark.parametrize(("mode", "sent"), [("La", "LA"), ("PA", "RGBA"), ("RGBa", "RGBA")])
def test_transparent_pictures_stay_transparent(mode: str, sent: str) -> None:
    assert Image.open(io.BytesIO(image_bytes(Image.new(mode, (4, 3))))).mode == sent


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_by_its_exif(image_format: str, orientation: int) -> None:
    """As the service turns the file; and as Pillow does, which finds no XMP here."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    file = encoded(photo(24, 16), image_format, exif=exif, **options)
    sent = Image.open(io.BytesIO(image_bytes(Image.open(io.BytesIO(file)))))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    assert np.array_equal(np.asarray(sent), np.asarray(expected))
    assert sent.size == ((24, 16) if orientation in range(5, 9) else (16, 24))
    assert ExifTags.Base.Orientation not in sent.getexif()


@pytest.mark.parametrize("orientation", [6, 3])
def test_xmp_turns_no_picture(orientation: int) -> None:
    xmp = f'<x:xmpmeta><r tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    picture = Image.open(io.BytesIO(encoded(photo(24, 16), "JPEG", xmp=xmp)))
    assert picture.getexif()[ExifTags.Base.Orientation] == orientation  # Pillow would turn it
    assert Image.open(io.BytesIO(image_bytes(picture))).size == (16, 24)


def test_broken_exif_is_no_reason_to_fail() -> None:
    picture = photo(24, 16)
    picture.info["exif"] = b"Exif\x00\x00MM\x00*\xff\xff"
    assert Image.open(io.BytesIO(image_bytes(picture))).size == (16, 24)


def test_files_and_buffers_are_read_from_their_start(tmp_path: Path) -> None:
    content = encoded(photo(24, 16), "PNG")
    buffer = io.BytesIO()
    buffer.write(content)
    assert image_bytes(buffer) == content
    assert image_bytes(bytearray(content)) == image_bytes(memoryview(content)) == content
    (tmp_path / "photo.png").write_bytes(content)
    with (tmp_path / "photo.png").open("rb") as file:
        assert image_bytes(file) == content
    with os.fdopen(os.memfd_create("photo"), "w+b") as writer:
        writer.write(content)
        writer.flush()
        assert image_bytes(writer) == content


def test_a_pipe_is_read_once() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"an image")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert image_bytes(pipe) == b"an image"


def test_what_is_not_an_image_is_not_sent() -> None:
    with pytest.raises(ValueError, match="mode F"):
        segment(Image.new("F", (4, 4)), url="http://127.0.0.1:1/")
    with pytest.raises(ValueError, match="float64"):
        segment(np.zeros((4, 4)), url="http://127.0.0.1:1/")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        segment("nowhere.jpg", url="http://127.0.0.1:1/")
    with pytest.raises(ValueError, match="'rb'"):
        segment(io.StringIO("text"), url="http://127.0.0.1:1/")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a list is not an image: give a path"):
        segment([[1, 2], [3, 4]], url="http://127.0.0.1:1/")  # type: ignore[arg-type]

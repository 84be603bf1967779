from __future__ import annotations

import io
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imaging.decode.header import check_structure, read_header
from imaging.decode.tiff.directory import MAX_VALUES
from imaging.errors import ImageError, UnreadableImage


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
    check_structure(read_header(file))


@pytest.mark.parametrize(
    "file",
    [
        encode("JPEG").replace(b"\xff\xda\0", 101 * b"\xff\xda\0"),
        encode("JPEG").replace(b"\xff\xd8", b"\xff\xd8" + 101 * b"\xff\xe1\0\x09Exif\0\0\0"),
        encode("JPEG").replace(b"\xff\xd8", b"\xff\xd8" + 1001 * b"\xff\xe5\0\2"),
        encode("JPEG").replace(b"\xff\xd8", b"\xff\xd8" + 3000 * b"\xff"),
        encode("PNG") + 101 * b"iCCP",
        encode("PNG") + 101 * b"iTXt",
        encode("PNG").replace(b"\0\0\0\0IEND", 20_000 * b"\0\0\0\0prVtCRC!" + b"\0\0\0\0IEND"),
        tiff_with_table(MAX_VALUES + 1, "<"),
        tiff_with_table(MAX_VALUES + 1, ">"),
        tiff_with_table(MAX_VALUES + 1, "<", big=True),
    ],
)
def test_structure_that_multiplies_work_is_refused(file: bytes) -> None:
    with pytest.raises(UnreadableImage) as caught:
        check_structure(read_header(file))
    assert caught.value.code == "image_too_complex"


@pytest.mark.parametrize(("name", "signature"), [("JPEG", 3), ("PNG", 8)])
def test_structure_of_any_beginning_can_be_checked(name: str, signature: int) -> None:
    file = encode(name)
    for length in range(signature, len(file)):
        check_structure(read_header(file[:length]))


@pytest.mark.parametrize(("name", "num_frames"), [("PNG", 4), ("WebP", 4), ("GIF", 3)])
def test_frames_are_counted(name: str, num_frames: int) -> None:
    assert read_header(encode(name)).num_frames == 1
    images = [Image.new("RGB", (50, 40), colour) for colour in ("red", "green", "blue")]
    file = encode(name, save_all=True, append_images=images)
    assert read_header(file).num_frames == num_frames


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}], ids=str)
def test_canvas_of_webp(options: dict[str, object]) -> None:
    file = encode("WEBP", **options)
    assert read_header(file).canvas_size == (50, 40)
    assert {read_header(file[:length]).canvas_size for length in range(12, 24)} == {None}
    assert read_header(encode("PNG")).canvas_size is None


@given(st.integers(1, 16_384), st.integers(1, 16_384))
def test_canvas_is_the_one_in_the_header(width: int, height: int) -> None:
    sides = [(side - 1).to_bytes(3, "little") for side in (width, height)]
    extended = b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"".join(sides)
    bits = (width - 1) | (height - 1) << 14
    lossless = b"RIFF\0\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + struct.pack("<I", bits)
    assert read_header(extended).canvas_size == (width, height)
    assert read_header(lossless).canvas_size == (width, height)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_end_of_tiff(compression: str) -> None:
    file = encode("TIFF", compression=compression)
    assert not read_header(file).ends_early
    assert read_header(file[:-1500]).ends_early


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "BMP", "GIF"])
def test_end_of_file(name: str) -> None:
    file = encode(name)
    assert not read_header(file).ends_early
    assert not read_header(file + b"\0\0").ends_early  # padded
    assert read_header(file[:-2]).ends_early


def test_tile_size_is_the_header_s() -> None:
    tiles = {322: 64, 323: 128}  # TileWidth, TileLength
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, side) for tag, side in tiles.items())
    file = b"II*\0" + struct.pack("<IH", 8, len(tiles)) + entries + bytes(4)
    assert read_header(file).tile_size == (64, 128)
    assert read_header(encode("TIFF")).tile_size == (0, 0)
    assert read_header(encode("PNG")).tile_size == (0, 0)


HEADS = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "WebP": b"RIFF\0\0\0\0WEBPVP8X",
    "BMP": b"BM" + bytes(12) + b"\x28\0\0\0",
    "TIFF": b"II*\0",
    "BigTIFF": b"II+\0",
    "GIF": b"GIF89a",
}


@given(st.sampled_from([*HEADS]), st.binary(max_size=200))
def test_any_bytes_behind_a_signature_have_a_header(name: str, rest: bytes) -> None:
    header = read_header(HEADS[name] + rest)
    assert header.format == name.replace("Big", "")
    assert header.num_frames >= 1
    assert isinstance(header.ends_early, bool)
    assert header.canvas_size is None or min(header.canvas_size) >= 0
    with suppress(ImageError, ValueError):
        check_structure(header)
    with suppress(ValueError):
        assert min(header.tile_size) >= 0

"""TIFF files of which Pillow and libtiff would not read the same, or too much of either."""

from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from imaging.decode import decode_image
from imaging.errors import ImageError
from imaging.tiff import MAX_ENTRIES, MAX_VALUES, MAX_WHOLE_IMAGES

BYTE, SHORT, LONG, SLONG8 = 1, 3, 4, 17
JPEG, DEFLATE, PACKBITS = 7, 8, 32773

Tag = tuple[int, int, int, int]  # number, type, number of values, value or offset

# 10x10 px of 8-bit grey in one strip.
STRIP: list[Tag] = [
    *((256, LONG, 1, 10), (257, LONG, 1, 10), (258, SHORT, 1, 8), (259, SHORT, 1, 1)),
    *((262, SHORT, 1, 1), (273, LONG, 1, 8), (277, SHORT, 1, 1), (278, LONG, 1, 10)),
    (279, LONG, 1, 100),
]


def tiff(entries: list[Tag], rest: bytes = bytes(100), magic: bytes = b"II*\0") -> bytes:
    """A file with one directory and then `rest`."""
    order = "<" if magic.startswith(b"II") else ">"
    start = struct.pack(f"{order}IH", 8, len(entries))
    return (
        magic + start + b"".join(packed(order, *tag) for tag in sorted(entries)) + bytes(4) + rest
    )


def packed(order: str, tag: int, kind: int, num_values: int, value: int) -> bytes:
    code = "H2x" if kind == SHORT and num_values == 1 else "I"
    return struct.pack(f"{order}HHI{code}", tag, kind, num_values, value)


def tiled(side: int, tile: int, compression: int, piece: bytes, *more: Tag) -> bytes:
    """Grey of side x side px in square tiles, all of the same bytes."""
    num_tiles = (-(-side // tile)) ** 2
    start = 8 + 2 + 12 * (10 + len(more)) + 4
    first = start + 8 * num_tiles
    tables = (start, start + 4 * num_tiles) if num_tiles > 1 else (first, len(piece))
    entries = [
        *tiled_tags(side, tile, compression),
        *((324, LONG, num_tiles, tables[0]), (325, LONG, num_tiles, tables[1])),
        *more,
    ]
    offsets = first + len(piece) * np.arange(num_tiles, dtype=np.uint32)
    lengths = np.full(num_tiles, len(piece), np.uint32)
    return tiff(entries, offsets.tobytes() + lengths.tobytes() + piece * num_tiles)


def tiled_tags(side: int, tile: int, compression: int) -> list[Tag]:
    """All but where the tiles are."""
    return [
        *((256, LONG, 1, side), (257, LONG, 1, side), (258, SHORT, 1, 8), (277, SHORT, 1, 1)),
        *((259, SHORT, 1, compression), (262, SHORT, 1, 1)),
        *((322, LONG, 1, tile), (323, LONG, 1, tile)),
    ]


def changed(file: bytes, tag: int, at: int, code: str, value: int) -> bytes:
    """With another field in the entry of `tag`: 2 its type, 4 its number of values."""
    start = file.index(struct.pack("<H", tag), 10) + at
    return file[:start] + struct.pack(code, value) + file[start + struct.calcsize(code) :]


def code_of(file: bytes) -> str:
    """The error's code, after little time and memory; "none" for an image."""
    began = time.thread_time()
    tracemalloc.start()
    try:
        decode_image(file)
        code = "none"
    except ImageError as error:
        json.dumps(error.details, allow_nan=False)
        code = error.code
    finally:
        _, peak = tracemalloc.get_traced_memory()  # bytes
        tracemalloc.stop()
    assert peak < 10_000_000 + 2 * len(file)
    assert time.thread_time() - began < 3
    return code


@pytest.mark.parametrize("kind", range(1, 19))
@pytest.mark.parametrize("tag", [322, 323], ids=["width", "length"])
def test_tiles_beside_strips_of_any_type(tag: int, kind: int) -> None:
    """A text times the other side was a text of 4 GB, and a fraction was in the error's figures."""
    code_of(tiff([*STRIP, (tag, kind, 1, 65)]))
    assert code_of(tiff([*STRIP, (tag, kind, 1, 65), (645 - tag, LONG, 1, 2**32 - 1)])) != "none"


def test_offsets_of_a_byte_each() -> None:
    """Of which Pillow would make an object each: a gigabyte of 4 MB."""
    entries = [tag for tag in STRIP if tag[0] not in (273, 278)]
    entries += [(273, BYTE, 1_000_000, 8), (278, LONG, 1, 1)]
    assert code_of(tiff(entries, bytes(1_000_000))) == "image_corrupt"


def test_big_tiff_with_the_high_byte_first() -> None:
    """Where Pillow reads a directory, BigTIFF has none."""
    entries = [tag for tag in STRIP if tag[0] not in (273, 278)]
    entries += [(273, LONG, 300_000, 200), (278, LONG, 1, 1)]
    assert code_of(tiff(entries, bytes(1_300_000), b"MM\0+")) == "image_corrupt"


def test_a_type_that_only_libtiff_reads() -> None:
    """For Pillow such a tag is not there; libtiff unpacks 50 MB for an image of one pixel."""
    width, height = 65_536, 1500
    piece = zlib.compress(bytes(width * height))
    honest = tiled(1, 16, DEFLATE, zlib.compress(bytes(256)))
    assert decode_image(honest).size == (1, 1)
    start = 8 + 2 + 12 * 10 + 4
    tags = [(322, SLONG8, 1, start), (323, SLONG8, 1, start + 8)]
    tags += [(324, LONG, 1, start + 16), (325, LONG, 1, len(piece))]
    entries = [*(tag for tag in tiled_tags(1, 16, DEFLATE) if tag[0] < 322), *tags]
    file = tiff(entries, struct.pack("<QQ", width, height) + piece)
    assert code_of(file) == "image_corrupt"


def test_a_tag_that_is_there_twice() -> None:
    assert code_of(tiff([*STRIP, (257, LONG, 1, 10)])) == "image_corrupt"


def test_pieces_upon_each_other() -> None:
    """Each was copied, and its bits turned round: minutes in one call."""
    file = tiled(512, 1, PACKBITS, b"\0\0", (266, SHORT, 1, 2))
    num_tiles = 512 * 512
    assert num_tiles == MAX_VALUES
    start = len(file) - (4 + 2) * num_tiles
    lengths = struct.pack("<I", 1 << 20) * num_tiles
    assert code_of(file[:start] + lengths + file[start + len(lengths) :]) == "image_too_complex"


def test_pieces_without_lengths() -> None:
    """libtiff takes each to be as long as the file."""
    file = tiled(512, 16, DEFLATE, zlib.compress(bytes(256)))
    decode_image(file)
    for fewer in (1, 1023):
        code = code_of(changed(file, 325, 4, "<I", fewer))
        assert code in ("image_corrupt", "image_truncated")
    assert code_of(changed(file, 325, 0, "<H", 326)) == "image_corrupt"


def test_pieces_that_are_images_of_their_own() -> None:
    picture = io.BytesIO()
    Image.new("L", (16, 16)).save(picture, "JPEG")
    for side, code in ((64, "none"), (65, "image_too_complex")):
        assert (side**2 <= MAX_WHOLE_IMAGES) == (code == "none")
        assert code_of(tiled(16 * side, 16, JPEG, picture.getvalue())) == code


def test_a_directory_of_no_end() -> None:
    more = [(1000 + number, LONG, 1, 1) for number in range(MAX_ENTRIES - len(STRIP))]
    assert code_of(tiff([*STRIP, *more])) == "none"
    assert code_of(tiff([*STRIP, *more, (60_000, LONG, 1, 1)])) == "image_too_complex"


@pytest.mark.parametrize(
    ("compression", "piece"),
    [(PACKBITS, bytes([129, 200, 129, 200])), (DEFLATE, zlib.compress(bytes([200]) * 256))],
)
def test_tiles_as_they_should_be(compression: int, piece: bytes) -> None:
    image = decode_image(tiled(60, 16, compression, piece))
    assert image.size == (60, 60)
    assert image.getcolors() == [(3600, (200, 200, 200))]

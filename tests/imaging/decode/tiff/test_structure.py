"""TIFF files that Pillow and libtiff read differently, or that cost either of them too much."""

from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
import zlib

import numpy as np
import PIL
import pytest
from PIL import Image

from imaging.decode.decoder import decode_image
from imaging.decode.tiff.directory import MAX_ENTRIES, MAX_VALUES
from imaging.decode.tiff.structure import MAX_WHOLE_IMAGES
from imaging.errors import ImageError

BYTE, SHORT, LONG, SLONG8 = 1, 3, 4, 17
NONE, OLD_JPEG, JPEG, DEFLATE, PACKBITS = 1, 6, 7, 8, 32773

Size = tuple[int, int]
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


def tiled(
    size: Size, tile: Size, compression: int, piece: bytes, *more: Tag, shared: bool = False
) -> bytes:
    """Grey of (width, height) px in tiles with the same bytes, stored once if they are shared."""
    num_tiles = -(-size[0] // tile[0]) * -(-size[1] // tile[1])
    start = 8 + 2 + 12 * (10 + len(more)) + 4
    first = start + 8 * num_tiles
    tables = (start, start + 4 * num_tiles) if num_tiles > 1 else (first, len(piece))
    entries = [
        *tiled_tags(size, tile, compression),
        *((324, LONG, num_tiles, tables[0]), (325, LONG, num_tiles, tables[1])),
        *more,
    ]
    step = 0 if shared else len(piece)
    offsets = first + step * np.arange(num_tiles, dtype=np.uint32)
    lengths = np.full(num_tiles, len(piece), np.uint32)
    pieces = piece * (1 if shared else num_tiles)
    return tiff(entries, offsets.tobytes() + lengths.tobytes() + pieces)


def tiled_tags(size: Size, tile: Size, compression: int) -> list[Tag]:
    """All tags but the tables of the tiles."""
    return [
        *((256, LONG, 1, size[0]), (257, LONG, 1, size[1]), (258, SHORT, 1, 8)),
        *((259, SHORT, 1, compression), (262, SHORT, 1, 1), (277, SHORT, 1, 1)),
        *((322, LONG, 1, tile[0]), (323, LONG, 1, tile[1])),
    ]


def changed(file: bytes, tag: int, at: int, code: str, value: int) -> bytes:
    """With one field of the entry of `tag` replaced: at 2 its type, at 4 its number of values."""
    start = file.index(struct.pack("<H", tag), 10) + at
    return file[:start] + struct.pack(code, value) + file[start + struct.calcsize(code) :]


def code_of(file: bytes) -> str:
    """The error's code, "none" for an image. Fails if decoding takes much time or memory."""
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
    """A string times the other side was a string of 4 GB, and a fraction was no JSON number."""
    code_of(tiff([*STRIP, (tag, kind, 1, 65)]))
    assert code_of(tiff([*STRIP, (tag, kind, 1, 65), (645 - tag, LONG, 1, 2**32 - 1)])) != "none"


def test_offsets_of_type_byte() -> None:
    """Pillow would make an object of each: 4 MB would become a gigabyte."""
    entries = [tag for tag in STRIP if tag[0] not in (273, 278)]
    entries += [(273, BYTE, 1_000_000, 8), (278, LONG, 1, 1)]
    assert code_of(tiff(entries, bytes(1_000_000))) == "image_corrupt"


def test_big_endian_bigtiff() -> None:
    """Pillow reads a directory where BigTIFF has none."""
    entries = [tag for tag in STRIP if tag[0] not in (273, 278)]
    entries += [(273, LONG, 300_000, 200), (278, LONG, 1, 1)]
    assert code_of(tiff(entries, bytes(1_300_000), b"MM\0+")) == "image_corrupt"


def test_a_type_that_only_libtiff_reads() -> None:
    """Pillow ignores such a tag, while libtiff unpacks 50 MB for an image of one pixel."""
    width, height = 65_536, 1500
    piece = zlib.compress(bytes(width * height))
    honest = tiled((1, 1), (16, 16), DEFLATE, zlib.compress(bytes(256)))
    assert decode_image(honest).size == (1, 1)
    start = 8 + 2 + 12 * 10 + 4
    tags = [(322, SLONG8, 1, start), (323, SLONG8, 1, start + 8)]
    tags += [(324, LONG, 1, start + 16), (325, LONG, 1, len(piece))]
    entries = [*(tag for tag in tiled_tags((1, 1), (16, 16), DEFLATE) if tag[0] < 322), *tags]
    file = tiff(entries, struct.pack("<QQ", width, height) + piece)
    assert code_of(file) == "image_corrupt"


def test_a_tag_that_is_there_twice() -> None:
    assert code_of(tiff([*STRIP, (257, LONG, 1, 10)])) == "image_corrupt"


def test_overlapping_pieces() -> None:
    """libtiff copied each and reversed its bits: minutes in one call."""
    file = tiled((512, 512), (1, 1), PACKBITS, b"\0\0", (266, SHORT, 1, 2))
    num_tiles = 512 * 512
    assert num_tiles == MAX_VALUES
    start = len(file) - (4 + 2) * num_tiles
    lengths = struct.pack("<I", 1 << 20) * num_tiles
    assert code_of(file[:start] + lengths + file[start + len(lengths) :]) == "image_too_complex"


def test_pieces_without_lengths() -> None:
    """libtiff takes each to be as long as the file."""
    file = tiled((512, 512), (16, 16), DEFLATE, zlib.compress(bytes(256)))
    decode_image(file)
    for fewer in (1, 1023):
        code = code_of(changed(file, 325, 4, "<I", fewer))
        assert code in ("image_corrupt", "image_truncated")
    assert code_of(changed(file, 325, 0, "<H", 326)) == "image_corrupt"
    assert code_of(changed(file, 324, 4, "<I", 1)) == "image_corrupt"


@pytest.mark.parametrize("compression", [NONE, DEFLATE, JPEG])
def test_a_file_that_is_cut_off(compression: int) -> None:
    """Tiles beyond its end are missing, not left out; libjpeg fills up those that end early."""
    tile = Image.effect_noise((16, 16), 50)
    jpeg = io.BytesIO()
    tile.save(jpeg, "JPEG")
    plain = tile.tobytes()
    piece = {NONE: plain, DEFLATE: zlib.compress(plain), JPEG: jpeg.getvalue()}[compression]
    file = tiled((64, 64), (16, 16), compression, piece)
    assert code_of(file) == "none"
    for cut in (len(piece) // 2, len(piece), 5 * len(piece), 16 * len(piece)):
        assert code_of(file[:-cut]) == "image_truncated"


def test_jpeg_tiles_that_end_early_within_the_file() -> None:
    picture = io.BytesIO()
    Image.effect_noise((16, 16), 50).save(picture, "JPEG")
    half = picture.getvalue()[: -len(picture.getvalue()) // 4]
    assert code_of(tiled((64, 64), (16, 16), JPEG, half)) == "image_corrupt"
    assert code_of(tiled((16, 16), (16, 16), JPEG, half)) == "image_corrupt"


@pytest.mark.parametrize(("offset", "length"), [(0, 8), (8, 0)])
def test_only_what_has_neither_offset_nor_length_is_left_out(offset: int, length: int) -> None:
    tags = tiled_tags((16, 16), (16, 16), DEFLATE)
    for at, count, code in ((offset, length, "image_corrupt"), (0, 0, "none")):
        assert code_of(tiff([*tags, (324, LONG, 1, at), (325, LONG, 1, count)])) == code


def test_pieces_that_are_images_of_their_own() -> None:
    picture = io.BytesIO()
    Image.new("L", (16, 16)).save(picture, "JPEG")
    for side, code in ((64, "none"), (65, "image_too_complex")):
        assert (side**2 <= MAX_WHOLE_IMAGES) == (code == "none")
        assert code_of(tiled((16 * side, 16 * side), (16, 16), JPEG, picture.getvalue())) == code


def test_a_directory_of_thousands_of_entries() -> None:
    more = [(1000 + number, LONG, 1, 1) for number in range(MAX_ENTRIES - len(STRIP))]
    assert code_of(tiff([*STRIP, *more])) == "none"
    assert code_of(tiff([*STRIP, *more, (60_000, LONG, 1, 1)])) == "image_too_complex"


def test_a_tag_behind_one_that_is_broken() -> None:
    """Pillow stops there, and libtiff would decode by tags that nobody has checked."""
    file = io.BytesIO()
    image = Image.new("YCbCr", (64, 64))
    image.save(file, "TIFF", compression="tiff_lzw", tiffinfo={305: "by a program" * 10})
    software = struct.pack("<HHI", 305, 2, 121)
    start = file.getvalue().index(software) + len(software)
    broken = file.getvalue()[:start] + b"\0\xff\xff\xff" + file.getvalue()[start + 4 :]
    assert code_of(file.getvalue()) == "none"
    assert code_of(broken) == "image_corrupt"
    # Plain samples are read by our own tags alone, and those are whole.
    plain = tiled((64, 64), (16, 16), DEFLATE, zlib.compress(bytes(256)), (305, 2, 100, 2**32 - 9))
    assert code_of(plain) == "none"


def test_a_compression_for_each_sample() -> None:
    """As in older standards. Of two that differ, libtiff and Pillow might take one each."""
    file = changed(tiled((512, 512), (16, 16), DEFLATE, zlib.compress(bytes(256))), 259, 4, "<I", 2)
    one, two = (struct.pack("<HHIHH", 259, SHORT, 2, DEFLATE, second) for second in (0, DEFLATE))
    assert code_of(file) == "image_corrupt"
    assert file.count(one) == 1
    assert decode_image(file.replace(one, two)).size == (512, 512)


def test_lengths_of_16_bits_in_a_larger_file() -> None:
    """As libtiff writes them where they fit."""
    piece = zlib.compress(np.random.default_rng(0).bytes(4096))
    num_tiles = 64
    start = 8 + 2 + 12 * 10 + 4
    first = start + 6 * num_tiles
    file = tiff(
        [
            *tiled_tags((512, 512), (64, 64), DEFLATE),
            (324, LONG, num_tiles, start),
            (325, SHORT, num_tiles, start + 4 * num_tiles),
        ],
        (first + len(piece) * np.arange(num_tiles, dtype="<u4")).tobytes()
        + np.full(num_tiles, len(piece), "<u2").tobytes()
        + piece * num_tiles,
    )
    assert len(file) > 0xFFFF
    assert decode_image(file).size == (512, 512)


def test_a_tag_without_values_is_ignored() -> None:
    assert decode_image(tiff([*STRIP, (338, SHORT, 0, 0)])).size == (10, 10)


def test_scans_of_other_pages() -> None:
    """Overviews, thumbnails and the rest of a document are not decoded."""
    picture = io.BytesIO()
    Image.new("L", (16, 16)).save(picture, "JPEG")
    file = tiled((64, 64), (16, 16), JPEG, picture.getvalue())
    assert decode_image(file + picture.getvalue() * 500).size == (64, 64)


@pytest.mark.parametrize("tag", [273, 279])
def test_strips_and_tiles(tag: int) -> None:
    """libtiff keeps the offsets and lengths of both in the same place."""
    file = tiled((64, 64), (16, 16), DEFLATE, zlib.compress(bytes(256)), (tag, LONG, 16, 100))
    assert code_of(file) == "image_corrupt"


def test_tiles_that_are_larger_together_than_their_image() -> None:
    """Each is within the limits: 400 megapixels for one column of pixels."""
    for tile, code in (((1024, 1024), "none"), ((20_000, 2500), "image_too_complex")):
        piece = zlib.compress(bytes(tile[0] * tile[1]))
        assert code_of(tiled((1, 20_000), tile, DEFLATE, piece, shared=True)) == code


def test_scans_in_pieces() -> None:
    picture = io.BytesIO()
    Image.new("L", (16, 16)).save(picture, "JPEG")
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0"
    for scans, code in ((99, "none"), (101, "image_too_complex")):
        piece = picture.getvalue() + scan * scans
        assert code_of(tiled((16, 16), (16, 16), JPEG, piece)) == code


def test_old_jpeg_in_planes() -> None:
    """libtiff walks through all planes for every strip."""
    file = tiled((64, 64), (16, 16), OLD_JPEG, b"", (284, SHORT, 1, 2))
    assert code_of(file) == "unsupported_format"


def test_one_tile_for_all_that_is_blank() -> None:
    file = tiled((4096, 4096), (256, 256), DEFLATE, zlib.compress(bytes(256 * 256)), shared=True)
    assert decode_image(file).size == (4096, 4096)


@pytest.mark.parametrize("white", [255, 65_535])
def test_colours_of_8_and_16_bits(white: int) -> None:
    """Pillow takes the high byte of 16 bits, so that colours of 8 bits are black to it."""
    start = 8 + 2 + 12 * (len(STRIP) + 1) + 4
    colours = np.zeros((3, 256), "<u2")
    colours[:, 0] = np.array([10, 200, 30]) * white // 255
    entries = [tag for tag in STRIP if tag[0] not in (262, 273)]
    entries += [(262, SHORT, 1, 3), (273, LONG, 1, start + colours.nbytes)]
    file = tiff([*entries, (320, SHORT, colours.size, start)], colours.tobytes() + bytes(100))
    assert decode_image(file).getpixel((0, 0)) == (10, 200, 30)


def test_uncompressed_subsampled_chroma() -> None:
    entries = [tag for tag in STRIP if tag[0] not in (258, 262, 273, 277)]
    start = 8 + 2 + 12 * (len(STRIP) + 1) + 4
    entries += [(258, SHORT, 3, start), (262, SHORT, 1, 6), (277, SHORT, 1, 3)]
    entries += [(273, LONG, 1, start + 6)]
    rest = struct.pack("<3H", 8, 8, 8) + bytes(1000)
    for factors, code in ((0x0001_0001, "none"), (0x0002_0002, "unsupported_format")):
        file = tiff([*entries, (530, SHORT, 2, factors)], rest)
        if code != "none" or int(PIL.__version__.split(".")[0]) >= 13:  # before, all were refused
            assert code_of(file) == code


@pytest.mark.parametrize(
    ("compression", "piece"),
    [(PACKBITS, bytes([129, 200, 129, 200])), (DEFLATE, zlib.compress(bytes([200]) * 256))],
)
def test_valid_tiles(compression: int, piece: bytes) -> None:
    image = decode_image(tiled((60, 60), (16, 16), compression, piece))
    assert image.size == (60, 60)
    assert image.getcolors() == [(3600, (200, 200, 200))]

from __future__ import annotations

import io
import struct
import time
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imaging.decode.decoder import decode_image
from imaging.decode.formats import READ_FORMATS
from imaging.decode.heif.av1 import picture_size
from imaging.decode.heif.boxes import read_boxes
from imaging.decode.heif.items import HEAD_BYTES, heads_of_pictures
from imaging.decode.heif.structure import check_structure, read_structure
from imaging.decode.limits import Limits
from imaging.errors import ImageError, ImageTooLarge, UnreadableImage
from tests.imaging.decode.differential.photo_samples import PHOTO, RIGHT, upright

WIDTH, HEIGHT = PHOTO.size


def encode(name: str, **options: object) -> bytes:
    file = io.BytesIO()
    if name == "HEIC":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.from_pillow(PHOTO).save(file, quality=95, **options)
    else:
        PHOTO.save(file, "AVIF", quality=95, **options)
    return file.getvalue()


FORMATS = [name for name in ("AVIF", "HEIC") if name in READ_FORMATS]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("limit", [{"max_pixels": 1000}, {"max_side": 50}])
def test_sizes_are_limited_before_a_reader_opens_the_file(
    name: str, limit: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encode(name)
    monkeypatch.setattr("imaging.decode.decoder.open_reader", None)
    with pytest.raises(ImageTooLarge) as caught:
        decode_image(file, Limits(**limit))
    # An encoder of HEVC pads, and a box says how much of it is shown.
    assert (caught.value.details["width"], caught.value.details["height"]) in (
        (WIDTH, HEIGHT),
        (64, 64),
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_picture_larger_than_its_box_says_is_refused(name: str) -> None:
    """Its decoder allocates by the picture, and libavif would scale the result down."""
    file = encode(name)
    at = file.index(b"ispe") + 8
    with pytest.raises(UnreadableImage):
        decode_image(file[:at] + struct.pack(">II", 8, 8) + file[at + 8 :])


@pytest.mark.parametrize("animated", [False, True])
def test_av1_pictures_are_found(animated: bool) -> None:
    more = {"save_all": True, "append_images": [PHOTO]} if animated else {}
    file = encode("AVIF", **more)
    heads = list(heads_of_pictures(file, list(read_boxes(file)), b"av01"))
    assert {picture_size(head) for head in heads} == {(WIDTH, HEIGHT)}
    assert read_structure(file).av1_size == (WIDTH, HEIGHT)


def av1_item(extents: list[tuple[int, int]], num_locations: int = 1) -> bytes:
    """Boxes with one item, located `num_locations` times, each in a box of its own."""
    location = struct.pack(">HHH", 1, 0, len(extents))
    location += b"".join(struct.pack(">II", *extent) for extent in extents)
    return box(b"ftyp", b"avif" + bytes(4)) + box(
        b"meta",
        bytes(4)
        + box(b"iinf", bytes(4) + b"\0\1" + box(b"infe", b"\2\0\0\0\0\1\0\0av01\0"))
        + num_locations * box(b"iloc", bytes(4) + b"\x44\0\0\1" + location),
    )


def test_a_picture_in_one_byte_extents_is_found() -> None:
    """Nothing says that the bytes of an item lie in one piece."""
    file = av1_item([(200, 1), (201, 5)]).ljust(200, b"\0") + b"abcdefgh"
    assert list(heads_of_pictures(file, list(read_boxes(file)), b"av01")) == [b"abcdef"]


def test_extents_that_overlap_take_no_more_memory_than_a_head() -> None:
    """As many as a file may have, each of all its bytes: 4 GB if they were joined."""
    file = av1_item([(0, 0)] * 4095).ljust(1 << 20, b"\0")
    tracemalloc.start()
    try:
        heads = [len(head) for head in heads_of_pictures(file, list(read_boxes(file)), b"av01")]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert heads == [HEAD_BYTES]
    assert peak < 4 << 20


def test_extents_are_counted_over_all_boxes() -> None:
    file = av1_item([(0, 8)] * 7, num_locations=513)  # of 8 with the item itself
    assert read_structure(file).av1_size is None
    with pytest.raises(ValueError, match="more extents"):
        list(heads_of_pictures(file, list(read_boxes(file)), b"av01"))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def made_of_parts(parts: dict[int, list[int]], sizes: dict[int, tuple[int, int]]) -> bytes:
    """Items that refer to others, and the (width, height) px that each declares."""
    references = b"".join(
        box(b"dimg", struct.pack(f">HH{len(numbers)}H", item, len(numbers), *numbers))
        for item, numbers in parts.items()
    )
    properties = b"".join(box(b"ispe", struct.pack(">III", 0, *size)) for size in sizes.values())
    pairs = b"".join(struct.pack(">HBB", item, 1, 1 + at) for at, item in enumerate(sizes))
    lists = box(b"ipma", struct.pack(">II", 0, len(sizes)) + pairs)
    return box(b"ftyp", b"heic" + bytes(4)) + box(
        b"meta",
        bytes(4)
        + box(b"iref", bytes(4) + references)
        + box(b"iprp", box(b"ipco", properties) + lists),
    )


TILE, GRID = (512, 512), (4032, 3024)


@pytest.mark.parametrize(
    ("parts", "sizes", "pixels"),
    [
        ({1: [*range(2, 50)]}, {1: GRID, **dict.fromkeys(range(2, 50), TILE)}, 48 * 512 * 512),
        ({1: [2, 3]}, {1: GRID, 2: GRID, 3: GRID}, 2 * 4032 * 3024),  # an overlay
        ({1: [2]}, {1: GRID}, 4032 * 3024),  # a part of no declared size
        ({1: [2], 2: [3, 4]}, {1: GRID, 2: TILE, 3: TILE, 4: TILE}, 2 * 512 * 512),
        (
            {1: [2, 3], 2: [4, 4], 3: [5]},
            {1: (8, 8), 2: (8, 8), 3: (8, 8), 4: (6, 8), 5: (9, 8)},
            168,
        ),
        ({1: [2], 2: [3]}, {1: TILE, 2: GRID, 3: (1, 1)}, 4032 * 3024),  # a canvas is not free
        ({}, {1: GRID}, 0),
        ({1: [2, 3, 4, 5]}, {1: (600, 600), **dict.fromkeys(range(2, 6), TILE)}, 1024 * 1024),
    ],
)
def test_tiles_and_layers_are_counted(
    parts: dict[int, list[int]], sizes: dict[int, tuple[int, int]], pixels: int
) -> None:
    structure = read_structure(made_of_parts(parts, sizes))
    assert structure.num_part_pixels == pixels
    check_structure(structure, "HEIC")


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        ({1: [2] * 961}, {1: (7000, 7000), 2: (2048, 2048)}),
        ({1: [2] * 961}, {1: (64, 64), 2: (2048, 2048)}),
        ({1: [2, 2], 2: [3, 3], 3: [4, 4]}, dict.fromkeys(range(1, 5), GRID)),
        ({1: [2], 2: [1]}, {1: TILE, 2: TILE}),
        ({item: [item + 1] for item in range(1, 9)}, {1: TILE}),
        ({1: [2] * 5000}, {1: TILE, 2: (1, 1)}),
    ],
)
def test_tiles_that_are_decoded_again_and_again_are_refused(
    parts: dict[int, list[int]], sizes: dict[int, tuple[int, int]]
) -> None:
    with pytest.raises(UnreadableImage) as caught:
        check_structure(read_structure(made_of_parts(parts, sizes)), "HEIC")
    assert caught.value.code == "image_too_complex"


@pytest.mark.parametrize(
    "boxes",
    [
        box(b"iref", bytes(4) + box(b"cdsc", b"") * 500_000),
        box(b"ipma", struct.pack(">II", 0, 2**32 - 1) + bytes(3_000_000)),
        box(b"ipco", b"") * 5,
    ],
)
def test_lists_without_end_are_not_walked(boxes: bytes) -> None:
    file = made_of_parts({}, {1: GRID}) + boxes
    started = time.thread_time()
    assert read_structure(file).num_part_pixels is None
    assert time.thread_time() - started < 0.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_turned_once(orientation: int) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = PHOTO.copy()
    photo.info["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    pillow_heif.from_pillow(photo).save(buffer, quality=95, chroma=444)
    file = buffer.getvalue()
    assert (b"irot" in file or b"imir" in file) == (orientation > 1)
    pixels = np.asarray(decode_image(file), int)
    # pillow-heif turns the pixels as it writes them, and has its boxes turn them once more.
    right = upright(upright(RIGHT, orientation), orientation)
    assert pixels.shape == right.shape
    assert abs(pixels - right).max() <= 20


@pytest.mark.parametrize("name", FORMATS)
def test_truncated(name: str) -> None:
    file = encode(name)
    for length in (40, len(file) // 2, len(file) - 1):
        with pytest.raises(UnreadableImage) as caught:
            decode_image(file[:length])
        assert caught.value.code == "image_truncated"


def test_boxes_without_end_are_refused() -> None:
    file = encode("AVIF")
    with pytest.raises(UnreadableImage) as caught:
        decode_image(file + box(b"free", b"") * 5000)
    assert caught.value.code == "image_too_complex"


def test_high_dynamic_range_is_shown_as_on_a_screen() -> None:
    """`nclx` with the code points of BT.2020 and PQ: what is stored looks grey and flat."""
    file = encode("AVIF")
    at = file.index(b"nclx")
    hdr = file[: at + 4] + struct.pack(">HH", 9, 16) + file[at + 8 :]
    plain, shown = (np.asarray(decode_image(data), int) for data in (file, hdr))
    bright = plain.min(axis=2) > 170
    assert bright.any()
    assert (shown[bright] >= 250).all()


@pytest.mark.parametrize(
    ("points", "expected"),
    [([], None), ([(12, 13)], (12, 13)), ([(1, 13)] * 2, (1, 13)), ([(9, 16), (1, 13)], None)],
)
def test_code_points_count_where_all_pictures_agree(
    points: list[tuple[int, int]], expected: tuple[int, int] | None
) -> None:
    colours = b"".join(
        box(b"colr", b"nclx" + struct.pack(">HHHB", *pair, 0, 128)) for pair in points
    )
    file = box(b"ftyp", b"avif" + bytes(4)) + box(
        b"meta", bytes(4) + box(b"iprp", box(b"ipco", colours))
    )
    assert read_structure(file).code_points == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_any_piece_of_a_file_may_be_anything(name: str, data: st.DataObject) -> None:
    file = bytearray(encode(name))
    start = data.draw(st.integers(12, len(file)))
    file[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    with suppress(ImageError):
        assert decode_image(file, Limits(max_pixels=1_000_000)).mode == "RGB"


@given(st.binary(max_size=300))
def test_any_bytes_have_a_structure(rest: bytes) -> None:
    structure = read_structure(b"\0\0\0\x14ftypavif\0\0\0\0mif1" + rest)
    with suppress(ImageError, ValueError):
        check_structure(structure, "AVIF")
    with suppress(ValueError):
        assert min(picture_size(rest)) > 0

"""Which of a file's pictures is read."""

from __future__ import annotations

import struct

import pytest

from imaging.decode.decoder import decode_image
from imaging.decode.tiff.directory import (
    MAX_DIRECTORIES,
    MAX_ENTRIES,
    full_picture,
    read_directories,
)
from scripts.stress.fuzz.tiff_writer import Values, tiff_file

REDUCED, MASK = 1, 4

Page = tuple[dict[int, Values], list[bytes]]


def grey(side: int, **tags: Values) -> Page:
    """A square picture, with more tags by number: t254."""
    more = {int(name[1:]): value for name, value in tags.items()}
    base = {256: side, 257: side, 258: 8, 262: 1, 277: 1, 278: side}
    return {**base, **more}, [bytes(side * side)]


THUMBNAIL, OLD_THUMBNAIL, TRANSPARENCY = grey(4, t254=REDUCED), grey(4, t255=2), grey(8, t254=MASK)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("pages", "below", "side"),
    [
        ([grey(8), grey(4)], 0, 8),  # a document: its first page
        ([THUMBNAIL, grey(8)], 0, 8),
        ([THUMBNAIL, grey(8)], 1, 8),
        ([OLD_THUMBNAIL, grey(8)], 0, 8),
        ([THUMBNAIL, TRANSPARENCY, grey(16)], 0, 16),
        ([THUMBNAIL, grey(4, t254=REDUCED), grey(16)], 2, 16),
        ([THUMBNAIL, grey(9), grey(8)], 1, 8),  # its own picture before the next page
        ([grey(8), THUMBNAIL, grey(16)], 2, 8),  # a pyramid
        ([THUMBNAIL, grey(2, t254=REDUCED)], 0, 4),  # nothing else is there
    ],
)
def test_the_full_picture_is_read(
    pages: list[Page], below: int, side: int, order: str, big: bool
) -> None:
    file = tiff_file(*pages, order=order, big=big, sub_directories=below)
    assert decode_image(file).size == (side, side)


def test_a_picture_behind_a_thumbnail_that_pillow_reads() -> None:
    """Fax is not plain samples: Pillow gets the file with another first directory."""
    row_of_white = bytes([0b0100_1101, 0b1000_0000])  # group 3: a run of 8
    fax = {256: 8, 257: 1, 258: 1, 259: 2, 262: 0, 277: 1, 278: 1}
    for big in (False, True):
        image = decode_image(tiff_file(THUMBNAIL, (fax, [row_of_white]), big=big))
        assert image.size == (8, 1)


def test_directories_in_a_circle() -> None:
    file = bytearray(tiff_file(THUMBNAIL))
    (start,) = struct.unpack_from("<I", file, 4)
    file[-4:] = struct.pack("<I", start)
    assert len(read_directories(bytes(file))) == 1
    assert decode_image(file).size == (4, 4)


def test_no_more_directories_are_looked_at_than_any_file_has() -> None:
    file = tiff_file(*[THUMBNAIL] * (MAX_DIRECTORIES + 1), grey(8))
    directories = read_directories(file)
    assert len(directories) == MAX_DIRECTORIES
    assert full_picture(directories) == directories[0]


def test_no_more_entries_are_looked_at_than_a_directory_may_have() -> None:
    many = grey(4, **{f"t{1000 + number}": 0 for number in range(MAX_ENTRIES // 4)}, t254=REDUCED)
    assert len(read_directories(tiff_file(*[many] * 10))) == 4


def test_a_next_directory_beyond_the_file_is_none() -> None:
    file = tiff_file(THUMBNAIL)
    for offset in (len(file), 2**32 - 1):
        assert len(read_directories(file[:-4] + struct.pack("<I", offset))) == 1

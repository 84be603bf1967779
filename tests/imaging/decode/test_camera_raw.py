from __future__ import annotations

import pytest

from imaging.decode.decoder import decode_image
from imaging.errors import UnsupportedImage
from scripts.stress.fuzz.tiff_writer import Values, tiff_file

PREVIEW: dict[int, Values] = {254: 1, 256: 4, 257: 4, 258: [8, 8, 8], 262: 2, 277: 3, 278: 4}
SENSOR: dict[int, Values] = {254: 0, 256: 8, 257: 8, 258: 16, 262: 32803, 277: 1, 278: 8}


def raw(make: str, *, preview: dict[int, Values] | None = None, **sensor: int) -> bytes:
    """As cameras write it: a preview first, what the sensor measured in a directory below it."""
    tags = {**SENSOR, 259: sensor.get("compression", 1), 262: sensor.get("photometric", 32803)}
    first = {**PREVIEW, 271: make, **(preview or {})}
    return tiff_file((first, [bytes(48)]), (tags, [bytes(128)]), order=">", sub_directories=1)


RAW_FILES = {
    "DNG": raw("Apple", preview={50706: bytes([1, 4, 0, 0])}, photometric=34892),
    "Nikon NEF": raw("NIKON CORPORATION", compression=34713),
    "Sony ARW": raw("SONY", compression=32767),
    "Pentax PEF": raw("PENTAX Corporation", compression=65535),
    "Samsung SRW": raw("SAMSUNG", photometric=1, compression=32770),
    "in a TIFF": raw("somebody"),
    "Canon CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(100),
    "Canon CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100),
    "Fujifilm RAF": b"FUJIFILMCCD-RAW 0201" + bytes(100),
    "Phase One IIQ": b"II*\0\x40\0\0\0IIIITwaR" + bytes(100),
    "Olympus ORF": b"IIRO\x08\0\0\0" + bytes(100),
    "Panasonic RW2": b"IIU\0\x18\0\0\0" + bytes(100),
}


@pytest.mark.parametrize("name", RAW_FILES)
def test_raw_files_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        decode_image(RAW_FILES[name])
    assert caught.value.code == "unsupported_format"
    assert f"Camera raw files ({name}) are not read" in caught.value.message


@pytest.mark.parametrize("corner", [b"IIII", b"MMMM", b"CRCR", b"CR\2\2", b"IIIIIIII", b"MMMMMMMM"])
def test_pixels_right_behind_the_header_are_no_signature(corner: bytes) -> None:
    """Most writers put them there; an even corner of level 73 is IIII."""
    picture: dict[int, Values] = {256: 8, 257: 8, 258: 8, 262: 1, 277: 1, 278: 8}
    file = tiff_file((picture, [corner * (64 // len(corner))]))
    assert file[8:].startswith(corner)
    assert decode_image(file).size == (8, 8)


def test_pictures_that_a_camera_saved_as_tiff_are_read() -> None:
    """With a thumbnail and the camera's name, but without what only a sensor gives."""
    picture: dict[int, Values] = {**PREVIEW, 254: 0, 256: 8, 257: 8, 278: 8}
    thumbnail: dict[int, Values] = {**PREVIEW, 271: "NIKON CORPORATION"}
    file = tiff_file((thumbnail, [bytes(48)]), (picture, [bytes(192)]), sub_directories=1)
    assert decode_image(file).size == (8, 8)

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from imaging.decode.decoder import decode_image
from imaging.decode.jpeg_reader import has_all_scans
from imaging.errors import ImageError, UnreadableImage, UnsupportedImage

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8))
FLAT = Image.new("RGB", (56, 40), (128, 128, 128))


def encode(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


FILES = {
    "baseline": encode(NOISE),
    "progressive": encode(NOISE, progressive=True),
    "grey": encode(NOISE.convert("L")),
    "cmyk": encode(NOISE.convert("CMYK")),
    "restarts": encode(NOISE, restart_marker_blocks=3),
    "optimized": encode(NOISE, optimize=True),
    "flat": encode(FLAT),  # what libjpeg fills missing pixels with
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_lacks_its_end_mark_alone_is_read(name: str) -> None:
    file = FILES[name]
    expected = np.asarray(decode_image(file))
    for cut in (1, 2):
        np.testing.assert_array_equal(np.asarray(decode_image(file[:-cut])), expected)
    np.testing.assert_array_equal(np.asarray(decode_image(file[:-2] + b"\0\0")), expected)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_lacks_pixels_is_refused(name: str) -> None:
    """Or it gives the same picture: the last bits of a file may be padding."""
    file = FILES[name]
    expected = np.asarray(decode_image(file))
    start = file.index(b"\xff\xda")
    pictures = [picture_of(file[:length]) for length in range(start, len(file), 11)]
    assert sum(picture is None for picture in pictures) > len(pictures) // 2
    for pixels in pictures:
        if pixels is not None:
            np.testing.assert_array_equal(pixels, expected)


def picture_of(file: bytes) -> np.ndarray | None:
    """None where the file is refused as truncated."""
    try:
        return np.asarray(decode_image(file))
    except UnreadableImage as error:
        return None if error.code == "image_truncated" else np.zeros(0)


def test_a_progressive_file_that_ends_between_two_scans_is_refused() -> None:
    file = FILES["progressive"]
    assert has_all_scans(file)
    scans = [at for at in range(len(file)) if file.startswith(b"\xff\xda\0", at)]
    tables = [at for at in range(len(file)) if file.startswith(b"\xff\xc4\0", at)]
    assert len(scans) > 5
    for scan in scans[1:]:
        cut = min(scan, *(at for at in tables if scans[0] < at < scan and scan - at < 300), scan)
        assert not has_all_scans(file[:cut])
        with pytest.raises(UnreadableImage):
            decode_image(file[:cut])


def test_the_scans_of_a_thumbnail_are_not_those_of_the_picture() -> None:
    """A thumbnail in EXIF has a header and scans of its own, whose components have equal names."""
    thumbnail = encode(NOISE.resize((16, 16)))
    body = b"Exif\0\0" + thumbnail
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    file = FILES["progressive"][:2] + segment + FILES["progressive"][2:]
    assert has_all_scans(file)
    cut = file.rindex(b"\xff\xda\0")
    assert not has_all_scans(file[:cut])
    with pytest.raises(UnreadableImage) as caught:
        decode_image(file[:cut])
    assert caught.value.code == "image_truncated"


@pytest.mark.parametrize(
    ("marker", "bits", "message"),
    [
        (0xC1, 12, "JPEG files of 12 bits a sample are not read."),
        (0xC3, 8, "Lossless JPEG files are not read."),
        (0xC5, 8, "Hierarchical JPEG files are not read."),
        (0xC9, 8, "JPEG files with arithmetic coding are not read."),
    ],
)
def test_other_kinds_are_refused_by_name(marker: int, bits: int, message: str) -> None:
    file = FILES["baseline"].replace(b"\xff\xc0\0\x11\x08", bytes([255, marker, 0, 17, bits]))
    with pytest.raises(UnsupportedImage) as caught:
        decode_image(file)
    assert caught.value.message.startswith(message)


def test_a_cut_that_leaves_no_scan_is_refused() -> None:
    file = FILES["baseline"]
    for length in range(3, file.index(b"\xff\xda"), 13):
        with pytest.raises(ImageError):
            decode_image(file[:length])

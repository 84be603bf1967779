from __future__ import annotations

import io
import random
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from imaging.decode.budget import PixelBudget
from imaging.decode.decoder import decode_image, decoded_image
from imaging.decode.limits import Limits
from imaging.errors import ImageError, ImageTooLarge, UnreadableImage, UnsupportedImage

WIDTH, HEIGHT = 67, 45


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def make_photo() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    ramp = np.linspace(0, 160, WIDTH)[:, None]
    return Image.fromarray((ramp + 0.3 * noise).astype(np.uint8))


PHOTO = make_photo()
GREY_16 = Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257)
TURNED = [PHOTO.rotate(180)]

LOSSLESS = {
    "png": encode(PHOTO, "PNG"),
    "apng": encode(PHOTO, "PNG", save_all=True, append_images=TURNED),
    "webp-lossless": encode(PHOTO, "WEBP", lossless=True),
    "webp-animated": encode(PHOTO, "WEBP", lossless=True, save_all=True, append_images=TURNED),
    "bmp": encode(PHOTO, "BMP"),
    "tiff": encode(PHOTO, "TIFF"),
    "tiff-big": encode(PHOTO, "TIFF", big_tiff=True),
    "tiff-lzw": encode(PHOTO, "TIFF", compression="tiff_lzw"),
    "tiff-deflate": encode(PHOTO, "TIFF", compression="tiff_adobe_deflate"),
    "tiff-pages": encode(PHOTO, "TIFF", save_all=True, append_images=TURNED),
}
LOSSY = {
    "jpeg": encode(PHOTO, "JPEG", quality=95),
    "jpeg-progressive": encode(PHOTO, "JPEG", quality=95, progressive=True),
    "jpeg-grey": encode(PHOTO.convert("L"), "JPEG", quality=95),
    "jpeg-cmyk": encode(PHOTO.convert("CMYK"), "JPEG", quality=95),
    "webp": encode(PHOTO, "WEBP", quality=95),
    "tiff-jpeg": encode(PHOTO, "TIFF", compression="jpeg"),
    "gif": encode(PHOTO, "GIF"),
    "gif-animated": encode(PHOTO, "GIF", save_all=True, append_images=TURNED),
    "png-1": encode(PHOTO.convert("1"), "PNG"),
    "png-palette": encode(PHOTO.convert("P"), "PNG"),
    "png-16": encode(GREY_16, "PNG"),
    "bmp-palette": encode(PHOTO.convert("P"), "BMP"),
    "tiff-16": encode(GREY_16, "TIFF"),
    "tiff-float": encode(PHOTO.convert("F"), "TIFF"),
    "tiff-fax": encode(PHOTO.convert("1"), "TIFF", compression="group4"),
}
FILES = LOSSLESS | LOSSY


def png_header(width: int, height: int) -> bytes:
    """A PNG of at most 2 kB, whatever size it declares."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    )


def refuse_to_load(*_: object) -> None:
    raise AssertionError("more was read than needed")


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_files_give_their_pixels(name: str) -> None:
    image = decode_image(LOSSLESS[name])
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(PHOTO))


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_come_close(name: str) -> None:
    image = decode_image(LOSSY[name])
    assert (image.mode, image.size) == ("RGB", PHOTO.size)
    means = np.asarray(image).mean(axis=(0, 1)), np.asarray(PHOTO).mean(axis=(0, 1))
    np.testing.assert_allclose(*means, atol=40 if name == "tiff-float" else 25)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_of_bytes_is_read(kind: type) -> None:
    assert decode_image(kind(FILES["jpeg"])).size == PHOTO.size


def test_nothing_of_the_file_but_its_pixels_remains() -> None:
    file = encode(PHOTO, "JPEG", comment=b"private", icc_profile=b"profile", exif=Image.Exif())
    assert decode_image(file).info == {}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("limit", "value", "code"),
    [("max_pixels", 3000, "image_too_large"), ("max_side", 66, "image_side_too_long")],
)
def test_sizes_are_limited_before_pixels_are_loaded(
    name: str, limit: str, value: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse_to_load)
    monkeypatch.setattr("PIL.TiffImagePlugin.TiffImageFile.load", refuse_to_load)
    monkeypatch.setattr("PIL.WebPImagePlugin.WebPImageFile.load", refuse_to_load)
    with pytest.raises(ImageTooLarge) as caught:
        decode_image(FILES[name], Limits(**{limit: value}))
    assert caught.value.code == code
    assert caught.value.details == {"width": WIDTH, "height": HEIGHT, limit: value}


def test_image_at_the_limits_is_read() -> None:
    file = FILES["png"]
    limits = Limits(max_bytes=len(file), max_pixels=WIDTH * HEIGHT, max_side=WIDTH)
    assert decode_image(file, limits).size == PHOTO.size


@pytest.mark.filterwarnings("error")  # such as Pillow's about decompression bombs
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_bomb_is_refused_without_pillow_s_help(side: int) -> None:
    before = Image.MAX_IMAGE_PIXELS
    file = png_header(side, side)
    started = time.thread_time()
    with pytest.raises(ImageTooLarge, match=f"{side}x{side}"):
        decode_image(file)
    assert time.thread_time() - started < 0.05
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("error")
def test_bombs_that_pillow_refuses_itself_are_too_large() -> None:
    canvas = struct.pack("<I", 10) + bytes(4) + 2 * (59_999).to_bytes(3, "little")
    webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + canvas
    frame = b"," + struct.pack("<HHHH", 0, 0, 10_000, 10_000) + b"\0\2\1\0\0;"
    gif = b"GIF89a" + struct.pack("<HH", 10, 10) + bytes(3) + frame
    for file in (webp, gif):
        with pytest.raises(ImageTooLarge) as caught:
            decode_image(file)
        assert caught.value.code == "image_too_large"
        assert caught.value.details["max_pixels"] == Limits().max_pixels


def test_tile_larger_than_its_image_is_refused() -> None:
    side = 20_000
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: 8}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    file = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)
    with pytest.raises(ImageTooLarge, match="20000x20000"):
        decode_image(file)


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_arithmetic_coding_is_not_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """libjpeg decodes a few bytes to any number of pixels."""
    file = encode(PHOTO, name, **({"compression": "jpeg"} if name == "TIFF" else {}))
    decode_image(file)
    monkeypatch.setattr(
        "imaging.decode.readers.READERS", {}
    )  # it is refused before a reader opens it
    for marker in (b"\xff\xc9", b"\xff\xca", b"\xff\xce"):
        with pytest.raises((UnreadableImage, UnsupportedImage)) as caught:
            decode_image(file.replace(b"\xff\xc0", marker))
        assert caught.value.code in ("image_corrupt", "unsupported_format")


def test_nothing_is_allocated_for_a_gif_s_second_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be 178 megapixels, before the size can be limited."""
    filled = []
    monkeypatch.setattr("PIL.Image.core.fill", lambda *sizes: filled.append(sizes))
    dispose = b"!\xf9\4" + bytes([2 << 2, 0, 0, 0, 0])
    frame = b"," + struct.pack("<HHHH", 0, 0, 65_535, 2_730) + b"\0\2\1\0\0;"
    file = b"GIF89a" + struct.pack("<HH", 65_535, 2_730) + bytes(3) + dispose + frame
    with pytest.raises(ImageTooLarge):
        decode_image(file)
    assert filled == []


def test_directories_below_the_first_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = Image.Exif()
    tags.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"  # when the photo was taken
    file = encode(PHOTO, "TIFF", exif=tags)
    monkeypatch.setattr(Image.Exif, "get_ifd", refuse_to_load)
    assert decode_image(file).size == PHOTO.size


def test_too_many_bytes() -> None:
    with pytest.raises(ImageTooLarge) as caught:
        decode_image(bytes(11), Limits(max_bytes=10))
    assert caught.value.code == "image_too_many_bytes"
    assert caught.value.details == {"bytes": 11, "max_bytes": 10}


@pytest.mark.parametrize("name", ["apng", "webp-animated"])
def test_too_many_frames(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imaging.decode.readers.READERS", {})
    with pytest.raises(ImageTooLarge) as caught:
        decode_image(FILES[name], Limits(max_frames=1))
    assert caught.value.code == "image_too_many_frames"
    assert caught.value.details == {"frames": 2, "max_frames": 1}


def test_pages_of_a_tiff_are_not_frames() -> None:
    assert decode_image(FILES["tiff-pages"], Limits(max_frames=1)).size == PHOTO.size


# Pillow reads these byte by byte or block by block: 31 MB would take a minute.
GIF_HEAD = b"GIF89a" + struct.pack("<HH", 10, 10) + bytes(3)
SLOW = {
    "JPEG that is padded": b"\xff\xd8\xff\xe0\0\2" + bytes(2_000_000) + FILES["jpeg"][2:],
    "GIF of comments": GIF_HEAD + b"!\xfe\1a\0" * 400_000 + b";",
    "GIF of one comment": GIF_HEAD + b"!\xfe" + b"\1a" * 400_000 + b"\0;",
}


@pytest.mark.parametrize("name", SLOW)
def test_decoding_stops_when_its_time_is_up(name: str) -> None:
    limits = Limits(max_seconds=0.02)
    started = time.thread_time()
    with pytest.raises(ImageTooLarge) as caught:
        decode_image(SLOW[name], limits)
    assert caught.value.code == "image_too_slow"
    assert caught.value.details == {"max_seconds": limits.max_seconds}
    assert time.thread_time() - started < 10 * limits.max_seconds


def test_images_in_flight_keep_to_the_budget() -> None:
    at_once = 2
    pair = threading.Barrier(at_once)
    budget = PixelBudget(at_once * PHOTO.width * PHOTO.height)
    in_flight = []
    most = []
    lock = threading.Lock()

    def decode(file: bytes) -> tuple[int, int]:
        with decoded_image(file, Limits(), budget) as decoded:
            with lock:
                in_flight.append(decoded)
                most.append(len(in_flight))
            pair.wait(timeout=30)  # so that others could enter meanwhile
            with lock:
                in_flight.remove(decoded)
            return decoded.pixels.size

    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(decode, 4 * [FILES["png"], FILES["jpeg"]]))
    assert sizes == 8 * [PHOTO.size]
    assert max(most) == at_once


def test_a_refused_image_returns_its_share() -> None:
    budget = PixelBudget(PHOTO.width * PHOTO.height)
    corrupt = bytearray(FILES["png"])
    corrupt[-100:-40] = bytes(60)
    for file in (corrupt, FILES["png"][:-200], FILES["png"]):
        with suppress(ImageError), decoded_image(file, Limits(), budget):
            pass
    with decoded_image(FILES["png"], Limits(), budget) as decoded:
        assert decoded.pixels.size == PHOTO.size
        assert decoded.valid is None


def test_a_header_that_nobody_foresaw_is_the_file_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imaging.decode.decoder.read_header", lambda data: struct.unpack("I", b""))
    with pytest.raises(UnreadableImage) as caught:
        decode_image(FILES["png"])
    assert caught.value.code == "image_corrupt"


def test_no_bytes() -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(b"")
    assert caught.value.code == "image_empty"


@pytest.mark.filterwarnings("ignore::UserWarning")  # a TIFF whose directory is gone
@pytest.mark.parametrize("name", FILES)
def test_truncated_files(name: str) -> None:
    part = FILES[name][: len(FILES[name]) * 2 // 5]  # not yet one frame of two
    with pytest.raises(UnreadableImage) as caught:
        decode_image(part)
    assert caught.value.code == "image_truncated"
    assert caught.value.details == {"bytes": len(part)}


@pytest.mark.parametrize(
    ("name", "start", "damage"),
    [
        ("png", 18, b"\xff\xff"),  # IHDR contradicts its checksum
        ("jpeg", 22, b"\x00\x43\xf0"),  # a quantisation table of unknown precision
        ("webp", 23, b"\0\0\0"),  # no VP8 start code
        ("bmp", 28, b"\x07"),  # bits per pixel
        ("gif", 10, b"\0\0\0"),  # no colour table where the frame expects one
        ("tiff-lzw", 8, b"\xff" * 40),  # codes that no table holds
    ],
)
def test_corrupt_files(name: str, start: int, damage: bytes) -> None:
    file = bytearray(FILES[name])
    file[start : start + len(damage)] = damage
    with pytest.raises(UnreadableImage) as caught:
        decode_image(file)
    assert caught.value.code == "image_corrupt"
    assert "plain JPEG or PNG" in caught.value.message


def test_other_files_are_unsupported() -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WebP, BMP, TIFF, GIF"):
        decode_image(b"BMW is not an image format")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_damaged_bytes_give_an_image_or_an_image_error(name: str) -> None:
    rng = random.Random(name)
    for _ in range(60):
        file = bytearray(FILES[name])
        for _ in range(rng.choice((1, 2, 8))):
            # Headers are short and decide most, so half of the damage is there.
            at = rng.randrange(min(len(file), rng.choice((100, len(file)))))
            file[at : at + rng.choice((0, 1, 4))] = rng.choice(
                (b"\0", b"\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", rng.randbytes(4), file[:30])
            )
        try:
            image = decode_image(file, Limits(max_pixels=1_000_000))
        except ImageError as error:
            refusal = error
        else:
            assert image.mode == "RGB"
            continue
        assert refusal.message.isascii()
        assert str(refusal.__cause__ or "no cause") not in refusal.message


@pytest.mark.filterwarnings("ignore")
@given(st.sampled_from([*FILES]), st.data())
def test_any_piece_of_a_file_may_be_anything(name: str, data: st.DataObject) -> None:
    file = bytearray(FILES[name])
    start = data.draw(st.integers(2, len(file)))
    file[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    with suppress(ImageError):
        assert decode_image(file, Limits(max_pixels=1_000_000)).mode == "RGB"


def test_threads_do_not_disturb_each_other() -> None:
    expected = [decode_image(file).tobytes() for file in FILES.values()]
    with ThreadPoolExecutor(4) as pool:
        images = pool.map(decode_image, 4 * list(FILES.values()))
        assert [image.tobytes() for image in images] == 4 * expected

"""The first frame of an animation, where it does not cover its canvas or is not the first image."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from imaging.decode.budget import PixelBudget
from imaging.decode.canvas import Canvas
from imaging.decode.decoder import decode_image, decoded_image
from imaging.decode.limits import Limits
from imaging.errors import ImageTooLarge, UnreadableImage
from tests.imaging.decode.differential.png_samples import RGB, RGBA, chunk, write_png

WIDTH, HEIGHT = 20, 16
LEFT, TOP, RIGHT, BOTTOM = 4, 2, 14, 12
FRAME = np.random.default_rng(0).integers(0, 255, (BOTTOM - TOP, RIGHT - LEFT, 3), np.uint8)
NOTICE = np.full((HEIGHT, WIDTH, 3), 77, np.uint16)  # what programs without APNG show


def on_white(frame: np.ndarray = FRAME) -> np.ndarray:
    page = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    page[TOP:BOTTOM, LEFT:RIGHT] = frame
    return page


def apng(frame: np.ndarray, box: tuple[int, int, int, int], colour_type: int = RGB) -> bytes:
    """An animation whose default image, a notice, is no frame."""
    left, top, right, bottom = box
    notice = NOTICE if colour_type == RGB else np.dstack((NOTICE, NOTICE[..., :1]))
    default = write_png(notice, colour_type, 8, before=chunk(b"acTL", struct.pack(">II", 2, 0)))
    data = write_png(frame.astype(np.uint16), colour_type, 8)
    start = data.index(b"IDAT") - 4
    pixels = data[start + 8 : start + 8 + int.from_bytes(data[start : start + 4], "big")]
    size = struct.pack(">IIII", right - left, bottom - top, left, top)
    middle = len(pixels) // 2
    frames = chunk(b"fcTL", struct.pack(">I", 0) + size + struct.pack(">HHBB", 1, 1, 0, 1))
    frames += chunk(b"fdAT", struct.pack(">I", 1) + pixels[:middle])
    frames += chunk(b"fdAT", struct.pack(">I", 2) + pixels[middle:])
    frames += chunk(b"fcTL", struct.pack(">I", 3) + size + struct.pack(">HHBB", 1, 1, 0, 0))
    frames += chunk(b"fdAT", struct.pack(">I", 4) + pixels)
    end = default.rindex(b"\0\0\0\0IEND")
    return default[:end] + frames + default[end:]


def test_the_first_frame_of_apng_is_shown_in_place_of_its_default_image() -> None:
    full = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    pixels = np.asarray(decode_image(apng(full, (0, 0, WIDTH, HEIGHT))))
    np.testing.assert_array_equal(pixels, full)


def test_a_frame_of_apng_may_cover_a_part() -> None:
    pixels = np.asarray(decode_image(apng(FRAME, (LEFT, TOP, RIGHT, BOTTOM))))
    np.testing.assert_array_equal(pixels, on_white())


def test_a_frame_of_apng_is_blended_with_nothing_but_white() -> None:
    layer = np.dstack((FRAME, np.where(FRAME[..., 0] > 128, 255, 0)))
    pixels = np.asarray(decode_image(apng(layer, (LEFT, TOP, RIGHT, BOTTOM), RGBA)))
    shown = np.where(layer[..., 3:] > 0, FRAME, 255)
    np.testing.assert_array_equal(pixels, on_white(shown))


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (15, 2, 25, 12), (4, 10, 14, 20)])
def test_a_frame_beyond_the_canvas_leaves_the_default_image(box: tuple[int, int, int, int]) -> None:
    file = apng(FRAME, (LEFT, TOP, RIGHT, BOTTOM))
    left, top, right, bottom = box
    at = file.index(b"fcTL") - 4
    control = file[at + 8 : at + 12] + struct.pack(">IIII", right - left, bottom - top, left, top)
    broken = file[:at] + chunk(b"fcTL", control + file[at + 28 : at + 34]) + file[at + 38 :]
    assert (np.asarray(decode_image(broken)) == 77).all()


def test_an_animation_is_one_whatever_lies_before_its_control_chunk() -> None:
    file = apng(FRAME, (LEFT, TOP, RIGHT, BOTTOM))
    at = file.index(b"acTL") - 4
    long = file[:at] + chunk(b"tEXt", b"Comment\0" + b"." * 5000) + file[at:]
    np.testing.assert_array_equal(np.asarray(decode_image(long)), on_white())


@pytest.mark.parametrize("length", [0, 7, 12])
def test_an_animation_with_a_short_header_is_refused(length: int) -> None:
    file = apng(FRAME, (LEFT, TOP, RIGHT, BOTTOM))
    short = file[:8] + chunk(b"IHDR", file[16 : 16 + length]) + file[8 + 12 + 13 :]
    with pytest.raises(UnreadableImage) as caught:
        decode_image(short)
    assert caught.value.code == "image_corrupt"


def test_chunks_are_counted_before_a_frame_is_made_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imaging.decode.png.apng._chunks", None)
    file = apng(FRAME, (LEFT, TOP, RIGHT, BOTTOM))
    end = file.rindex(b"\0\0\0\0IEND")
    with pytest.raises(UnreadableImage) as caught:
        decode_image(file[:end] + 20_000 * chunk(b"prVt", b"") + file[end:])
    assert caught.value.code == "image_too_complex"


def test_the_canvas_is_limited_too() -> None:
    with pytest.raises(ImageTooLarge):
        decode_image(apng(FRAME, (LEFT, TOP, RIGHT, BOTTOM)), Limits(max_side=15))


@pytest.mark.parametrize("size", [(1, 1), (RIGHT - LEFT, BOTTOM - TOP)])
def test_the_budget_is_for_the_canvas(size: tuple[int, int]) -> None:
    """However small the frame, the whole page is in memory."""
    taken = []

    class Recorded(PixelBudget):
        @contextmanager
        def spend(self, pixels: int) -> Iterator[None]:
            taken.append(pixels)
            with super().spend(pixels):
                yield

    width, height = size
    file = apng(FRAME[:height, :width], (LEFT, TOP, LEFT + width, TOP + height))
    with decoded_image(file, Limits(), Recorded(10_000)) as decoded:
        assert decoded.pixels.size == (WIDTH, HEIGHT)
    assert taken == [WIDTH * HEIGHT]


def gif(transparent: bool) -> bytes:
    """Four grey pixels of a larger screen whose entry 0 is red."""
    palette = bytes((255, 0, 0, 10, 10, 10, 200, 200, 200, 0, 0, 255))
    screen = struct.pack("<6sHHBBB", b"GIF89a", WIDTH, HEIGHT, 0x81, 0, 0) + palette
    control = b"!\xf9\4" + bytes([int(transparent), 0, 0, 3, 0])
    frame = b"," + struct.pack("<HHHHB", 3, 5, 2, 2, 0)
    # LZW of 2 bits: clear, 1, 2, 2, 1, end; codes are 3 bits, then 4.
    codes = [(4, 3), (1, 3), (2, 3), (2, 3), (1, 4), (5, 4)]
    bits = shift = 0
    for code, width in codes:
        bits |= code << shift
        shift += width
    data = bits.to_bytes(-(-shift // 8), "little")
    return screen + control + frame + bytes([2, len(data)]) + data + b"\0;"


@pytest.mark.parametrize("transparent", [False, True])
def test_a_frame_of_gif_may_cover_a_part(transparent: bool) -> None:
    pixels = np.asarray(decode_image(gif(transparent)))
    expected = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    expected[5:7, 3:5] = np.array([[10, 200], [200, 10]])[..., None]
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("alpha", [False, True])
def test_a_frame_of_webp_may_cover_a_part(alpha: bool) -> None:
    image = Image.fromarray(FRAME)
    second = image.transpose(Image.Transpose.ROTATE_180)
    if alpha:
        image.putalpha(255)
        second.putalpha(128)
    file = io.BytesIO()
    image.save(file, "WEBP", save_all=True, append_images=[second], lossless=True)
    data = bytearray(file.getvalue())
    data[24:30] = b"".join((side - 1).to_bytes(3, "little") for side in (WIDTH, HEIGHT))
    start = data.index(b"ANMF") + 8
    data[start : start + 6] = b"".join((at // 2).to_bytes(3, "little") for at in (LEFT, TOP))
    np.testing.assert_array_equal(np.asarray(decode_image(data)), on_white())


def test_a_canvas_of_its_frame_s_size_is_left_alone() -> None:
    image = Image.fromarray(FRAME)
    assert Canvas(image.size, (0, 0, *image.size)).lay_out(image) is image

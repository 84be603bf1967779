from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from imaging.colour.icc import MIN_TABLE_PIXELS, _conversion, convert_to_srgb
from imaging.decode.decoder import decode_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DISPLAY_P3, PRINTER = (pyvips.Image.profile_load(name) for name in ("p3", "cmyk"))
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))


def grey_profile(gamma: float) -> bytes:
    """A display's, of one channel (ICC.1, 7.2 and 8.3)."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, len(curve))
    size = 156 + len(white) + len(curve)
    head = struct.pack(">I4xI4s4s4s", size, 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    return head.ljust(36, b"\0") + b"acsp" + bytes(88) + tags + white + curve


def by_littlecms(image: Image.Image, profile: bytes) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, io.BytesIO(profile), io.BytesIO(SRGB), ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB", flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip
    assert converted is not None
    return converted


@pytest.mark.parametrize(
    ("mode", "profile"), [("RGB", DISPLAY_P3), ("CMYK", PRINTER), ("L", grey_profile(2.2))]
)
def test_small_images_are_converted_by_littlecms(mode: str, profile: bytes) -> None:
    image = NOISE.convert(mode)
    expected = np.asarray(by_littlecms(image, profile))
    converted = np.asarray(convert_to_srgb(image, profile))
    np.testing.assert_allclose(converted.astype(int), expected, atol=4 if mode == "L" else 1)
    assert (converted != np.asarray(image.convert("RGB"))).any()


def test_a_grey_profile_with_gamma_1_is_light() -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    light = np.arange(256) / 255
    right = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    levels = np.asarray(convert_to_srgb(ramp, grey_profile(1.0)))[0, :, 0]
    np.testing.assert_allclose(levels, right, atol=1.5)


def test_large_images_are_converted_by_a_table_almost_as_exactly() -> None:
    """Of random colours many are outside of sRGB, where the curves are steepest."""
    size = (1200, 1000)
    colours = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    smooth = Image.fromarray(colours[:5, :6]).resize(size, Image.Resampling.BICUBIC)
    for image, mean, most in ((Image.fromarray(colours), 0.6, 24), (smooth, 0.6, 16)):
        assert image.width * image.height >= MIN_TABLE_PIXELS
        exact = np.asarray(by_littlecms(image, DISPLAY_P3)).astype(int)
        error = abs(np.asarray(convert_to_srgb(image.copy(), DISPLAY_P3)) - exact)
        assert error.mean() < mean
        assert error.max() < most


def test_a_profile_of_srgb_costs_nothing() -> None:
    assert _conversion(SRGB, "RGB") is None
    assert _conversion(DISPLAY_P3, "RGB") is not None
    image = NOISE.copy()
    assert convert_to_srgb(image, SRGB) is image


def with_bytes(profile: bytes, start: int, content: bytes) -> bytes:
    return profile[:start] + content + profile[start + len(content) :]


BROKEN = {
    "empty": b"",
    "text": b"not a profile",
    "cut": DISPLAY_P3[:200],
    "of another space": PRINTER,
    "of grey": grey_profile(2.2),
    "without signature": with_bytes(DISPLAY_P3, 36, b"nope"),
    "of a device link": with_bytes(DISPLAY_P3, 12, b"link"),
    "of endless tags": with_bytes(DISPLAY_P3, 128, b"\xff\xff\xff\xff"),
    "too large": DISPLAY_P3 + bytes(5_000_000),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_profile_that_is_not_usable_counts_as_none(name: str) -> None:
    assert convert_to_srgb(NOISE, BROKEN[name]) is NOISE


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "too large"])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_broken_profile_costs_no_picture(name: str, file_format: str) -> None:
    plain, marked = io.BytesIO(), io.BytesIO()
    NOISE.save(plain, file_format)
    NOISE.save(marked, file_format, icc_profile=BROKEN[name])
    expected = np.asarray(decode_image(plain.getvalue()))
    np.testing.assert_array_equal(np.asarray(decode_image(marked.getvalue())), expected)


def test_a_chain_of_steps_without_end_is_not_followed() -> None:
    """LittleCMS would take minutes for the 4 MB of them that a profile may have."""
    tags = struct.unpack_from(">I", DISPLAY_P3, 128)[0]
    table = DISPLAY_P3[132 : 132 + 12 * tags]
    _, start, _ = struct.unpack_from(">4sII", table, 12 * (tags - 1))
    steps = with_bytes(DISPLAY_P3, start, b"mpet")
    steps = with_bytes(steps, 132 + 12 * (tags - 1), b"D2B0")
    assert convert_to_srgb(NOISE, steps) is NOISE


@given(st.data())
def test_any_piece_of_a_profile_may_be_anything(data: st.DataObject) -> None:
    profile = bytearray(data.draw(st.sampled_from([DISPLAY_P3, grey_profile(1.8)])))
    mode = "L" if profile[16:20] == b"GRAY" else "RGB"
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(profile)))
        profile[start : start + 4] = data.draw(st.binary(max_size=8))
    started = time.thread_time()
    converted = convert_to_srgb(NOISE.convert(mode), bytes(profile))
    assert (converted.mode, converted.size) == ("RGB", NOISE.size)
    assert time.thread_time() - started < 1

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import pyvips
from PIL import Image

from imaging.colour.encoding import encoding_of, encoding_of_code_points
from imaging.colour.icc import convert_to_srgb
from imaging.colour.primaries import PRIMARIES, SRGB, Chromaticities
from imaging.colour.transfer import power
from imaging.decode.decoder import decode_image
from tests.imaging.decode.differential.png_samples import RGB, chunk, write_png

NOISE = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)


def linear(stored: np.ndarray) -> np.ndarray:
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def srgb(light: np.ndarray) -> np.ndarray:
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_display_p3_by_its_primaries_is_display_p3_by_its_profile() -> None:
    encoding = encoding_of_code_points(12, 13)
    assert encoding is not None
    by_primaries = np.asarray(encoding.convert_to_srgb(Image.fromarray(NOISE)), int)
    profile = pyvips.Image.profile_load("p3")
    by_profile = np.asarray(convert_to_srgb(Image.fromarray(NOISE), profile), int)
    assert abs(by_primaries - by_profile).max() <= 3
    assert abs(by_primaries - NOISE).max() > 20


def test_bt_2020_by_the_matrix_of_bt_2087() -> None:
    """ITU-R BT.2087, annex 2, rounded to four digits."""
    matrix = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    right = srgb(linear(NOISE / 255) @ np.transpose(matrix)) * 255
    encoding = encoding_of_code_points(9, 13)
    assert encoding is not None
    converted = np.asarray(encoding.convert_to_srgb(Image.fromarray(NOISE)), float)
    inside = (right > 5) & (right < 250)  # rounding is magnified near black
    assert abs(converted - right)[inside].max() < 2.5


@pytest.mark.parametrize(
    ("transfer", "stored", "level"),
    [
        (8, 0.5, 188),  # linear
        (4, 0.5, 127.5),  # gamma 2.2: next to sRGB's
        (16, 0.58, 255),  # PQ: 203 cd/m2, the white of paper, by ITU-R BT.2408
        (16, 0.38, 100),  # 26 cd/m2: a grey card of 18 %
        (18, 0.75, 255),  # HLG: the same white
        (18, 0.38, 100),  # the same card
        (18, 1.0, 255),  # brighter light is clipped
    ],
)
def test_transfer_functions(transfer: int, stored: float, level: float) -> None:
    encoding = encoding_of_code_points(1, transfer)
    assert encoding is not None
    table = encoding.tone_table(1001)
    assert int(table[round(stored * 1000)]) == pytest.approx(level, abs=6)
    assert (np.diff(table.astype(int)) >= 0).all()


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (2, 2), (1, 1), (6000, 6000)])
def test_what_is_srgb_or_unknown_is_left_as_it_is(primaries: int, transfer: int) -> None:
    assert encoding_of_code_points(primaries, transfer) is None


@pytest.mark.parametrize(
    "primaries",
    [
        SRGB,
        Chromaticities((0.3127, 0.329), (0.64, 0.33), (0.3, 0.6), (0.15, 0.0)),
        Chromaticities((0.3127, 0.329), (0.64, 0.33), (0.64, 0.33), (0.15, 0.06)),
        Chromaticities((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)),
        Chromaticities((0.9, 0.05), (0.64, 0.33), (0.3, 0.6), (0.15, 0.06)),
    ],
)
def test_primaries_that_are_srgb_s_or_make_no_colours(primaries: Chromaticities) -> None:
    assert encoding_of(primaries, None) is None


GAMA = chunk(b"gAMA", struct.pack(">I", 100_000))
P3_CHRM = chunk(
    b"cHRM", struct.pack(">8I", *(round(1e5 * v) for point in PRIMARIES[12] for v in point))
)
P3_ICCP = chunk(b"iCCP", b"p3\0\0" + zlib.compress(pyvips.Image.profile_load("p3")))
SRGB_CHUNK = chunk(b"sRGB", b"\0")


def decoded(before: bytes) -> np.ndarray:
    file = write_png(NOISE.astype(np.uint16), RGB, 8, before=before)
    return np.asarray(decode_image(file), int)


def test_precedence_of_png_s_chunks() -> None:
    """PNG, third edition, 4.3: cICP, iCCP, sRGB, then gAMA and cHRM."""
    p3 = np.asarray(convert_to_srgb(Image.fromarray(NOISE), pyvips.Image.profile_load("p3")), int)
    cicp_p3, cicp_srgb = (chunk(b"cICP", bytes([p, 13, 0, 1])) for p in (12, 1))
    assert abs(decoded(P3_CHRM) - p3).max() <= 3
    assert abs(decoded(cicp_p3) - p3).max() <= 3
    assert abs(decoded(cicp_p3 + SRGB_CHUNK + GAMA) - p3).max() <= 3
    assert (decoded(P3_ICCP) == p3).all()
    assert (decoded(P3_ICCP + GAMA) == p3).all()
    assert (decoded(cicp_srgb + P3_ICCP) == NOISE).all()
    assert (decoded(SRGB_CHUNK + GAMA + P3_CHRM) == NOISE).all()
    brighter = decoded(GAMA)
    assert (brighter >= NOISE).all()
    assert abs(brighter - srgb(NOISE / 255) * 255).max() <= 1


@pytest.mark.parametrize("points", [(2, 2), (12, 2), (2, 13), (1, 255), (0, 0)])
def test_code_points_that_are_not_understood_are_no_declaration(points: tuple[int, int]) -> None:
    unknown = chunk(b"cICP", bytes([*points, 0, 1]))
    assert (decoded(unknown) == NOISE).all()
    assert (decoded(unknown + GAMA) == decoded(GAMA)).all()
    assert (decoded(unknown + P3_ICCP) == decoded(P3_ICCP)).all()
    assert (decoded(P3_ICCP) != NOISE).any()


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1"])
def test_absurd_gamma_counts_as_none(body: bytes) -> None:
    if len(body) == 4:
        assert (decoded(chunk(b"gAMA", body)) == NOISE).all()


def test_gamma_and_primaries_together() -> None:
    encoding = encoding_of(PRIMARIES[12], power(1.0))
    assert encoding is not None
    toned = Image.fromarray(np.rint(srgb(NOISE / 255) * 255).astype(np.uint8))
    expected = np.asarray(convert_to_srgb(toned, pyvips.Image.profile_load("p3")), int)
    assert abs(decoded(GAMA + P3_CHRM) - expected).max() <= 3

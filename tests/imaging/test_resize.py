from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as v1
from torchvision.transforms.v2 import functional as v2

from imaging.resize import MAX_ASPECT, fit_size, resize


def make_photo(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * height)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8)).resize((width, height))
    noise = rng.integers(-20, 21, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8))


@given(st.integers(200, 9000), st.integers(200, 9000), st.integers(32, 2000))
def test_sizes_are_torchvision_s(width: int, height: int, short_side: int) -> None:
    nothing = torch.empty(3, height, width, device="meta")
    resized = v2.resize(nothing, [short_side], max_size=MAX_ASPECT * short_side, antialias=True)
    assert fit_size(width, height, short_side) == tuple(resized.shape[-2:])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (520, 693)),
        ((480, 640), (693, 520)),
        ((500, 500), (520, 520)),
        ((2000, 500), (520, 2080)),  # just at the cap
        ((20_000, 1), (1, 2080)),
        ((1, 20_000), (2080, 1)),
        ((1, 1), (520, 520)),
    ],
)
def test_sizes_at_520(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_size(*size, 520) == expected


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 1000))
def test_no_image_becomes_large_or_vanishes(width: int, height: int, short_side: int) -> None:
    h, w = fit_size(width, height, short_side)
    assert 1 <= min(h, w) <= short_side
    assert max(h, w) <= MAX_ASPECT * short_side


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(640, 491, (520, 677)), (389, 257, (520, 787)), (1200, 900, (52, 69)), (7, 5, (5, 7))],
)
def test_pixels_are_torchvision_s(width: int, height: int, size: tuple[int, int]) -> None:
    photo = make_photo(width, height)
    resized = resize(photo, size)
    assert (resized.dtype, resized.shape) == (torch.uint8, (3, *size))

    planes = v1.pil_to_tensor(photo)
    of_v1 = v1.resize(planes, list(size), antialias=True)
    of_pillow = v1.pil_to_tensor(v1.resize(photo, list(size)))
    for reference in (of_v1, of_pillow):
        assert (resized.int() - reference.int()).abs().max() <= 1
    if "AVX2" in torch.backends.cpu.get_cpu_capability():  # elsewhere v2 goes through float too
        channels_last = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
        assert torch.equal(resized, v2.resize(channels_last, list(size), antialias=True))


def test_image_is_not_touched() -> None:
    photo = make_photo(30, 20)
    before = photo.tobytes()
    resize(photo, (20, 30)).zero_()
    assert photo.tobytes() == before

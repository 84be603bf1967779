"""Limits that the images of one request share."""

from __future__ import annotations

import time

import pytest

from imaging import Limits
from imaging.decode.allowance import Allowance

LIMITS = Limits(max_bytes=100, max_pixels=1000, max_side=50, max_seconds=4.0)


def test_bytes_and_pixels_are_used_up() -> None:
    allowance = Allowance(LIMITS)
    with allowance.spend(30) as limits:
        assert limits == LIMITS
    allowance.spend_pixels(600)
    with allowance.spend(90) as limits:
        assert (limits.max_bytes, limits.max_pixels, limits.max_side) == (70, 400, 50)
    allowance.spend_pixels(600)
    with allowance.spend(1) as limits:
        assert (limits.max_bytes, limits.max_pixels) == (0, 0)
    assert allowance.pixels == 1200


def test_an_image_that_cannot_be_read_costs_its_bytes_and_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter([10.0, 13.0, 20.0, 29.0, 40.0, 40.0])
    monkeypatch.setattr(time, "thread_time", lambda: next(seconds))
    allowance = Allowance(LIMITS)
    with pytest.raises(ValueError, match="damaged"), allowance.spend(30):
        raise ValueError("damaged")
    with allowance.spend(0) as limits:
        assert (limits.max_bytes, limits.max_seconds) == (70, 1.0)
    with allowance.spend(0) as limits:
        assert limits.max_seconds == 0

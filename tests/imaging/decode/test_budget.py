from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.decode.budget import PixelBudget

TIMEOUT = 30  # s; bounds a test that hangs


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 150), min_size=1, max_size=20))
def test_the_budget_is_never_exceeded(sizes: list[int]) -> None:
    budget = PixelBudget(100)
    out: list[int] = []
    seen: list[int] = []

    def work(pixels: int) -> None:
        with budget.spend(pixels):
            out.append(pixels)
            seen.append(sum(min(held, 100) for held in list(out)))
            out.remove(pixels)

    with ThreadPoolExecutor(6) as pool:
        for job in [pool.submit(work, pixels) for pixels in sizes]:
            job.result(TIMEOUT)
    assert max(seen) <= 100


def test_shares_that_fit_together_do_not_wait() -> None:
    budget = PixelBudget(100)
    both_inside = threading.Barrier(2)

    def work() -> None:
        with budget.spend(50):
            both_inside.wait(TIMEOUT)

    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(work), pool.submit(work)]:
            job.result(TIMEOUT)


def test_an_error_returns_the_share() -> None:
    budget = PixelBudget(100)
    with pytest.raises(KeyError), budget.spend(1000):
        raise KeyError
    with budget.spend(100):
        pass

from __future__ import annotations

import pytest

from scripts.stress.soak.memory_growth import memory_growth


def growth_of(sizes: list[int]) -> float | None:
    """Of one sample per second."""
    return memory_growth([(float(at), size) for at, size in enumerate(sizes)])


@pytest.mark.parametrize(
    ("sizes", "growth"),
    [
        pytest.param([100] * 700, None, id="the windows overlap"),
        pytest.param([1] * 120 + [100] * 700, 0, id="the warm-up does not count"),
        pytest.param([100] * 500 + [110] * 400, pytest.approx(0.1), id="growth"),
        pytest.param([100] * 500 + [100, 200] * 200, 0, id="a batch needs more and releases it"),
        pytest.param([100] * 840 + [110] * 60, 0, id="a minute without rest is not growth"),
    ],
)
def test_growth_by_hand(sizes: list[int], growth: float | None) -> None:
    assert growth_of(sizes) == growth

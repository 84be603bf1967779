from __future__ import annotations

import pytest

from scripts.training.schedule import learning_rate_factor


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    factors = [learning_rate_factor(step, 100) for step in range(101)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(factors) == 1
    assert factors[5:] == sorted(factors[5:], reverse=True)
    assert factors[99] < 1e-3
    assert factors[100] == 0


def test_the_fall_is_half_a_cosine() -> None:
    # The warm-up of 400 steps has 20: the middle of the fall is 20 + 380 / 2.
    assert learning_rate_factor(20, 400) == 1
    assert learning_rate_factor(210, 400) == pytest.approx(0.5)
    assert learning_rate_factor(115, 400) == pytest.approx(0.5 + 0.125**0.5)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 4000])
def test_no_step_of_a_run_is_without_effect(steps: int) -> None:
    assert all(0 < learning_rate_factor(step, steps) <= 1 for step in range(steps))
    assert learning_rate_factor(steps, steps) == 0

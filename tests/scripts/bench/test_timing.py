from __future__ import annotations

import time

from scripts.bench.timing import time_interleaved


def test_speedup_is_over_the_first_contender() -> None:
    slow, fast = time_interleaved(
        "naps", {"slow": lambda: time.sleep(0.02), "fast": lambda: time.sleep(0.002)}, rounds=3
    )
    assert slow.speedup == 1
    assert slow.milliseconds >= 20
    assert fast.speedup == slow.milliseconds / fast.milliseconds > 2


def test_rounds_are_interleaved() -> None:
    order: list[str] = []
    time_interleaved(
        "order", {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2
    )
    assert order == ["a", "b"] * 3  # a warm-up, then two rounds

"""The benchmark's arithmetic, and what its drawn inputs are like."""

from __future__ import annotations

import time

import torch

from scripts.bench.cpu import Figure, compare, jpeg_of, table, trained_like_logits


def test_a_ratio_says_how_many_times_faster_than_the_first() -> None:
    slow, fast = compare(
        "naps", {"slow": lambda: time.sleep(0.02), "fast": lambda: time.sleep(0.002)}, rounds=3
    )
    assert slow.ratio == 1
    assert slow.milliseconds >= 20
    assert fast.ratio == slow.milliseconds / fast.milliseconds > 2


def test_sections_become_tables() -> None:
    figures = [Figure("a", "x", 2, 1), Figure("a", "y", 1, 2), Figure("b", "x", 3.25, 1)]
    assert table(figures).splitlines() == [
        "| a | ms | times as fast |",
        "|---|---:|---:|",
        "| x | 2.0 | 1.00 |",
        "| y | 1.0 | 2.00 |",
        "",
        "| b | ms | times as fast |",
        "|---|---:|---:|",
        "| x | 3.2 | 1.00 |",
    ]


def test_logits_are_mixed_as_on_photos() -> None:
    label = trained_like_logits(21, 65, 87).argmax(1)[0]
    corners = torch.stack([label[:-1, :-1], label[1:, :-1], label[:-1, 1:], label[1:, 1:]])
    mixed = (corners != corners[0]).any(0).float().mean()
    assert 0.2 < mixed < 0.45  # design measurements: 25 to 39 % of the cells


def test_drawings_are_the_same_each_time() -> None:
    assert jpeg_of((49, 64)) == jpeg_of((49, 64))

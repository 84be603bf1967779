from __future__ import annotations

from scripts.bench.cpu import timing_tables
from scripts.bench.timing import Timing


def test_each_section_becomes_a_table() -> None:
    timings = [Timing("a", "x", 2, 1), Timing("a", "y", 1, 2), Timing("b", "x", 3.25, 1)]
    assert timing_tables(timings).splitlines() == [
        "| a | ms | speedup |",
        "|---|---:|---:|",
        "| x | 2.0 | 1.00 |",
        "| y | 1.0 | 2.00 |",
        "",
        "| b | ms | speedup |",
        "|---|---:|---:|",
        "| x | 3.2 | 1.00 |",
    ]

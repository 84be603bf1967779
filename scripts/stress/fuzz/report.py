"""A campaign as a table for the terminal, and its failures as files."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from scripts.stress.fuzz.campaign import FuzzReport
from scripts.stress.fuzz.outcome import MAX_RESPONSE_SECONDS, Outcome

MAX_MEMORY_GROWTH = 0.05  # share, of the idle worker's memory


def outcome_table(report: FuzzReport) -> str:
    """Requests by category and status, then the criteria."""
    counts = Counter((outcome.request.category, outcome.column) for outcome in report.outcomes)
    categories = sorted({category for category, _ in counts})
    columns = sorted({column for _, column in counts})
    rows = {category: [counts[category, column] for column in columns] for category in categories}
    rows["all"] = [sum(column) for column in zip(*rows.values())]
    width = max(map(len, rows))
    lines = ["  ".join([f"{'':{width}}", *columns])]
    for name, row in rows.items():
        cells = (f"{cell or '':>{len(column)}}" for cell, column in zip(row, columns))
        lines.append("  ".join([f"{name:{width}}", *cells]))
    lines.append("")
    lines += [f"{'ok ' if met else 'BAD'}  {text}" for met, text in criteria(report)]
    if excused := sum(outcome.excused for outcome in report.outcomes):
        lines.append(f"     {excused} responses of 500 from TorchServe's frontend, not the handler")
    return "\n".join(lines)


def criteria(report: FuzzReport) -> Iterator[tuple[bool, str]]:
    """Each criterion of a successful campaign: whether it is met, and the figures."""
    slowest = report.slowest
    yield report.deaths == 0, f"{report.deaths} worker deaths"
    yield not report.faults, f"{len(report.faults)} responses of 500 and above, broken or missing"
    yield (
        slowest.seconds <= MAX_RESPONSE_SECONDS,
        f"slowest response {slowest.seconds:.1f} s, to request {slowest.request.seed} "
        f"({slowest.request.category}); at most {MAX_RESPONSE_SECONDS:.0f} s",
    )
    yield (
        report.growth <= MAX_MEMORY_GROWTH,
        f"memory of the idle worker {report.memory_before / 1e6:.0f} -> "
        f"{report.memory_after / 1e6:.0f} MB, {report.growth:+.1%}; at most "
        f"{MAX_MEMORY_GROWTH:+.0%}",
    )


def succeeded(report: FuzzReport) -> bool:
    return all(met for met, _ in criteria(report))


def save_failures(outcomes: Iterable[Outcome], folder: Path) -> None:
    """Write every failed request as SEED.request, which `nc` can send, and SEED.response."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for outcome in outcomes:
        if not outcome.failed:
            continue
        seed, fault = outcome.request.seed, outcome.fault or "slow"
        (folder / f"{seed}.request").write_bytes(outcome.request.wire)
        (folder / f"{seed}.response").write_bytes(
            f"{fault}: {outcome.status} in {outcome.seconds:.1f} s\n\n".encode() + outcome.body
        )


def description(outcome: Outcome) -> str:
    """One request and its response, shortened for the terminal."""
    wire = outcome.request.wire
    return (
        f"{outcome.request.category}, {len(wire)} bytes: {wire[:300]!r}\n"
        f"{outcome.column} in {outcome.seconds:.2f} s: {outcome.body[:1000]!r}"
    )

"""Runs sections of `gpu_sections` one after the other, each in a process with a time limit.

Rows are written as they come, so the results survive the loss of the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.bench.gpu import Figure, table
from scripts.bench.gpu_layers import Row
from scripts.bench.gpu_sections import SECTIONS, Options

ROWS = "results.jsonl"  # a row a line, with the section's name
LOG = "log.txt"  # the sections' output
TABLE = "table.md"


def run_sections(
    names: Iterable[str], options: Options, out: Path, limit: float | None = None
) -> list[str]:
    """Run sections in the order of SECTIONS, and return the names of those that failed.

    `limit` replaces the sections' own, in seconds. Afterwards `out` holds ROWS, LOG and TABLE.
    """
    out.mkdir(parents=True, exist_ok=True)
    wanted = set(names)
    failed = []
    for name, section in SECTIONS.items():
        if name not in wanted:
            continue
        started = time.perf_counter()
        problem = run_apart(name, options, out, limit or section.limit)
        seconds = round(time.perf_counter() - started, 1)
        append(out, name, {"finished": problem or "ok", "seconds": seconds})
        print(f"{name}: {problem or 'ok'}, {seconds} s", flush=True)
        if problem:
            failed.append(name)
        (out / TABLE).write_text(table(read_figures(out)) + "\n")
    return failed


def run_apart(name: str, options: Options, out: Path, limit: float) -> str | None:
    """Run one section in a process of its own; returns its error, if any."""
    command = [sys.executable, "-m", "scripts.bench_gpu", "--section", name, "--out", str(out)]
    command += ["--device", str(options.device), "--networks", *options.networks]
    command += ["--sizes", *(f"{height}x{width}" for height, width in options.sizes)]
    command += ["--batches", *map(str, options.batches)]
    with (out / LOG).open("a") as log:
        print(f"\n=== {name}", file=log, flush=True)
        try:
            subprocess.run(command, stdout=log, stderr=log, timeout=limit, check=True)
        except subprocess.TimeoutExpired:
            return f"not done within {limit:.0f} s"
        except subprocess.CalledProcessError as error:
            return f"exit status {error.returncode}; see {LOG}"
    return None


def run_section(name: str, options: Options, out: Path) -> None:
    """Run one section in this process."""
    for row in SECTIONS[name].rows(options):
        append(out, name, row)


def append(out: Path, section: str, row: Row) -> None:
    line = json.dumps({"section": section, **row})
    print(line, flush=True)
    with (out / ROWS).open("a") as file:
        file.write(line + "\n")


def read_figures(out: Path) -> Sequence[Figure]:
    """The table's figures among the rows that were written."""
    rows = [json.loads(line) for line in (out / ROWS).read_text().splitlines()]
    return [
        Figure(**{**row["figure"], "size": tuple(row["figure"]["size"])})
        for row in rows
        if "figure" in row
    ]

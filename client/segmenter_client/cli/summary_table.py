"""`--summary`: a table of the classes in every image, as CSV or Parquet, kept over several runs.

Each image is a line of JSON in a journal beside the table as soon as it is done, so that a run that
is killed loses none; the table is made of the journal at the end.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Sequence
from io import FileIO, StringIO
from pathlib import Path
from typing import Final

from segmenter_client.cli.outputs import ClassFigures, write_atomically
from segmenter_client.cli.parquet import read_parquet, require_parquet, to_parquet
from segmenter_client.cli.table_rows import COLUMNS, DONE, Row, row_from_text
from segmenter_client.cli.terminal import UserError, printable

PARQUET: Final = ".parquet"
SUFFIXES: Final = (".csv", PARQUET)
JOURNAL: Final = ".journal"


class SummaryTable:
    """The rows of all images so far, by file: a row for each class, or one with what went wrong."""

    def __init__(self, rows: dict[str, list[Row]], journal: FileIO) -> None:
        self.rows = rows
        self._journal = journal

    def has(self, name: str) -> bool:
        """Whether an image's classes are in the table."""
        return any(row.status == DONE for row in self.rows.get(printable(name), ()))

    def add(self, name: str, classes: Sequence[ClassFigures]) -> None:
        file = printable(name)
        self._put(
            file,
            [Row(file, one.label, one.pixels, one.share, one.confidence, DONE) for one in classes],
        )

    def fail(self, name: str, reason: str) -> None:
        file = printable(name)
        self._put(file, [Row(file, None, None, None, None, reason)])

    def _put(self, file: str, rows: list[Row]) -> None:
        self.rows[file] = rows
        with _writing(str(self._journal.name)):
            self._journal.write(json.dumps(rows).encode("ascii") + b"\n")


@contextlib.contextmanager
def summary_table(path: Path | None) -> Iterator[SummaryTable | None]:
    """The table at `path`, with the rows of earlier runs; written at the end, however it comes.

    None without a path. Raises UserError for a file that is no such table.
    """
    if path is None:
        yield None
        return
    if path.suffix == PARQUET:
        require_parquet()
    journal = path.with_name(path.name + JOURNAL)
    with _writing(path):
        rows = _read_table(path)
        _replay(journal, rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = journal.open("ab", buffering=0)  # on disk with each line, nothing left to close
        if file.tell():
            file.write(b"\n")  # ends a line that a killed run has torn
    with file:
        try:
            yield SummaryTable(rows, file)
        finally:
            ordered = [row for name in sorted(rows) for row in rows[name]]
            content = to_parquet(ordered) if path.suffix == PARQUET else _csv(ordered)
            with _writing(path):
                write_atomically(path, content)
    journal.unlink()


@contextlib.contextmanager
def _writing(path: Path | str) -> Iterator[None]:
    """Raises UserError for an OSError: no image is at fault, and none can go on."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {printable(path)}: {error.strerror}") from error


def _read_table(path: Path) -> dict[str, list[Row]]:
    if not path.exists():
        return {}
    try:
        found = read_parquet(path) if path.suffix == PARQUET else _read_csv(path)
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"{printable(path)} is not a table of an earlier run: {error}; name another file"
        ) from error
    rows: dict[str, list[Row]] = {}
    for row in found:
        rows.setdefault(row.file, []).append(row)
    return rows


def _read_csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    if tuple(header) != COLUMNS:
        raise ValueError(f"its columns are {', '.join(header)}")
    return [row_from_text(line) for line in lines]


def _csv(rows: Sequence[Row]) -> bytes:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *rows])
    return text.getvalue().encode("utf-8")


def _replay(journal: Path, rows: dict[str, list[Row]]) -> None:
    """Add the rows of a run that was killed. Its last line may be torn, and counts as none then."""
    if not journal.exists():
        return
    for line in journal.read_text("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError, TypeError):
            found = [Row(*cells) for cells in json.loads(line)]
            rows.update({row.file: found for row in found})

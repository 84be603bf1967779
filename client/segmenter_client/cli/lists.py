"""Lists of images: a name a line, or a column of a CSV file."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import Path

from segmenter_client.cli.terminal import UserError, printable


def read_list(source: str, column: str | None = None) -> list[str]:
    """The names in a file, or on stdin for "-": one a line; or those in a CSV file's column.

    Names may have any encoding. Lines and cells that are empty are left out. Raises UserError.
    """
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {printable(source)}: {error.strerror}") from error
    text = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf"))  # the mark that Excel writes
    names = text.split("\n") if column is None else _column(text, column, source)
    return [name for name in (name.rstrip("\r") for name in names) if name]


def _column(text: str, column: str, source: str) -> list[str]:
    """A CSV file's cells in a column, by the first line's names; separated as that line is."""
    first_line = text.partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{printable(source)} is not a CSV file: {error}") from error
    names = list(reader.fieldnames or ())
    if column not in names:
        raise UserError(
            f"{printable(source)} has no column {column!r}; its columns are {', '.join(names)}"
        )
    return [(row[column] or "").strip() for row in rows]

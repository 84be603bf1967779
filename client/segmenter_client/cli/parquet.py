"""The table of classes as Parquet, by pyarrow, which the extra `exporters` installs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any  # pyarrow has no types

from segmenter_client.cli.table_rows import COLUMNS, Row
from segmenter_client.cli.terminal import UserError


def require_parquet() -> None:
    """Raise UserError, before any work is done, where pyarrow is missing."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(
            "Parquet needs another package: pip install 'segmenter-client[exporters]'; or name a "
            ".csv file"
        ) from error


def to_parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    columns = [list(cells) for cells in zip(*rows)] or [[] for _ in COLUMNS]
    table = pyarrow.Table.from_arrays(
        [pyarrow.array(cells, type_) for cells, type_ in zip(columns, _types(pyarrow))],
        names=list(COLUMNS),
    )
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def read_parquet(path: Path) -> list[Row]:
    """Raises ValueError for what is no such table."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    if tuple(table.column_names) != COLUMNS:
        raise ValueError(f"its columns are {', '.join(table.column_names)}")
    return [Row(*cells) for cells in zip(*(column.to_pylist() for column in table.columns))]


def _types(pyarrow: Any) -> list[Any]:
    text, real = pyarrow.string(), pyarrow.float64()
    return [text, text, pyarrow.int64(), real, real, text]

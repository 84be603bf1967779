"""A row of the table of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

DONE: Final = "ok"


class Row(NamedTuple):
    """A class in an image; or, without a class, what went wrong with it."""

    file: str
    label: str | None
    pixels: int | None
    share: float | None  # of the image, 0..1
    confidence: float | None  # mean probability, 0..1
    status: str  # DONE, or the reason


# As the table names them; "class" is no name in Python.
COLUMNS: Final = tuple({"label": "class"}.get(name, name) for name in Row._fields)


def row_from_text(cells: Sequence[str]) -> Row:
    """A row of cells as CSV has them. Raises ValueError."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"a row has {len(cells)} cells instead of {len(COLUMNS)}")
    file, label, pixels, share, confidence, status = cells
    return Row(
        file,
        label or None,
        int(pixels) if pixels else None,
        float(share) if share else None,
        float(confidence) if confidence else None,
        status,
    )

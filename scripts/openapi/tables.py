"""The tables of output formats that stand in the pages of the documentation, out of the registry.

A page marks a table's place, and names the table, with two comments:

    <!-- table: formats (written by python -m scripts.write_openapi) -->
    <!-- end of table -->
"""

from __future__ import annotations

import re

from scripts.openapi.reference import table
from serving.formats import FORMATS

PLACE = re.compile(
    r"(?P<begin><!-- table: (?P<name>\w+)[^>]*-->\n).*?(?P<end><!-- end of table -->)", re.DOTALL
)


def with_tables(page: str) -> str:
    """The page with the tables in their places. Raises KeyError for an unknown table."""
    tables = {"formats": formats_table(), "files": files_table()}
    return PLACE.sub(
        lambda place: f"{place['begin']}\n{tables[place['name']]}\n{place['end']}", page
    )


def formats_table() -> str:
    """Every output format with its media type and content."""
    return table(
        ("name", "media type", "content"),
        (
            [_name(name), f"`{output_format.media_type}`", output_format.content]
            for name, output_format in FORMATS.items()
        ),
    )


def files_table() -> str:
    """The output formats that are files, with the name of the file for photo.jpg."""
    return table(
        ("`--as`", "file"),
        (
            [_name(name), f"`photo.jpg{output_format.suffix}`"]
            for name, output_format in FORMATS.items()
            if output_format.suffix is not None
        ),
    )


def _name(output_format: str) -> str:
    is_default = output_format == next(iter(FORMATS))
    return f"`{output_format}` (default)" if is_default else f"`{output_format}`"

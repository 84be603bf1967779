"""The client's table of files against the service's registry of output formats."""

from __future__ import annotations

from segmenter_client.formats import FILE_SUFFIXES
from serving.formats import FORMATS


def test_the_suffixes_are_the_registrys() -> None:
    """Protocols' formats have none: they are not files."""
    registered = {name: each.suffix for name, each in FORMATS.items() if each.suffix is not None}
    assert registered == FILE_SUFFIXES


def test_no_two_formats_have_the_same_file() -> None:
    assert len(set(FILE_SUFFIXES.values())) == len(FILE_SUFFIXES)

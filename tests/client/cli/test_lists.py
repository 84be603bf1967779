"""Lists of images: a name a line, or a column of a CSV file."""

from __future__ import annotations

from pathlib import Path

import pytest

from segmenter_client.cli.lists import read_list
from segmenter_client.cli.program import main


@pytest.mark.parametrize(
    ("content", "column", "expected"),
    [
        (b"a.jpg\nb c.jpg\r\n\n", None, ["a.jpg", "b c.jpg"]),
        (b"id,url\n1,https://h/a.jpg\n2,\n3,https://h/b.jpg\n", "url", ["https://h/a.jpg", "https://h/b.jpg"]),
        (b'url;note\r\n"a;b.jpg";"two\nlines"\r\nc.jpg;\r\n', "url", ["a;b.jpg", "c.jpg"]),
        (b"\xef\xbb\xbfurl\tn\nx.jpg\t1\n", "url", ["x.jpg"]),
        (b"url\nx.jpg\n", "url", ["x.jpg"]),
        (b"id,url\n1\n", "url", []),
    ],
    ids=["lines", "commas", "semicolons", "excel", "one column", "short row"],
)  # fmt: skip
def test_names(here: Path, content: bytes, column: str | None, expected: list[str]) -> None:
    (here / "list").write_bytes(content)
    assert read_list("list", column) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--list", "urls.csv", "--column", "link"], "no column 'link'; its columns are id, url"),
        (["a.jpg", "--column", "url"], "--column names a column of --list"),
        (["a.jpg", "--summary", "table.txt"], "does not end in .csv or .parquet"),
        (["-", "--summary", "table.csv"], "nor with --summary"),
    ],
)
def test_invalid_arguments(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    (here / "urls.csv").write_text("id,url\n1,a.jpg\n")
    try:
        status: object = main(arguments)
    except SystemExit as error:  # argparse
        status = error.code
    assert status == 2
    assert expected in capsys.readouterr().err

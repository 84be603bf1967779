"""The published contract is whole, valid, and what the code makes."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from model.preset import load_preset
from scripts.common.terminal import ROOT
from scripts.openapi.document import is_json, schema_name
from scripts.openapi.examples import errors, responses
from scripts.openapi.generate import (
    DOCUMENT,
    PAGES_WITH_TABLES,
    PRESET,
    REFERENCE,
    generated_documents,
)
from scripts.openapi.schemas import OUTPUT_SCHEMAS
from scripts.openapi.tables import PLACE, with_tables
from serving.formats import FORMATS

# Compressed images differ between the versions of what packs them.
ENCODED = re.compile(r"[A-Za-z0-9+/]{60,}=*")

RAISERS = {"RequestError", "UnreadableImage", "ImageTooLarge", "UnsupportedImage"}


@pytest.fixture(scope="module")
def contract() -> Any:
    return json.loads(DOCUMENT.read_text("ascii"))


def test_it_is_openapi(contract: Any) -> None:
    validate(contract)


@pytest.fixture(scope="module")
def generated() -> dict[Path, str]:
    return generated_documents()


@pytest.mark.parametrize(
    "path", [DOCUMENT, REFERENCE, *PAGES_WITH_TABLES], ids=lambda path: path.name
)
def test_what_is_committed_is_what_the_code_makes(path: Path, generated: dict[Path, str]) -> None:
    """If not: python -m scripts.write_openapi"""
    committed, fresh = path.read_text("utf-8"), generated[path]
    assert ENCODED.sub("", committed) == ENCODED.sub("", fresh)


@pytest.mark.parametrize("page", PAGES_WITH_TABLES, ids=lambda page: page.name)
def test_a_page_has_a_place_for_its_table(page: Path) -> None:
    assert PLACE.search(page.read_text("utf-8"))


def test_a_table_of_an_unknown_name_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="fromats"):
        with_tables("<!-- table: fromats -->\n<!-- end of table -->")


def test_every_output_is_in_it_with_an_example_and_a_schema(contract: Any) -> None:
    content = contract["components"]["responses"]["Segmentation"]["content"]
    examples = {name: kind for kind, one in content.items() for name in one.get("examples", {})}
    assert examples == {name: form.media_type for name, form in FORMATS.items()}
    in_json = {name for name, form in FORMATS.items() if is_json(form.media_type)}
    assert set(OUTPUT_SCHEMAS) == in_json
    assert {schema_name(name) for name in in_json} <= set(contract["components"]["schemas"])


def test_every_error_that_the_code_can_raise_has_an_example() -> None:
    given = {json.loads(response.body)["error"]["code"] for response in errors(load_preset(PRESET))}
    raised = set(codes_raised())
    assert len(raised) > 15
    assert raised - given == set()


def test_the_examples_are_of_the_served_outputs() -> None:
    for name, response in responses(load_preset(PRESET)).items():
        assert response.status == 200
        assert response.content_type == FORMATS[name].media_type


def codes_raised() -> Iterator[str]:
    """The codes in the calls that make errors, wherever in the archive's code."""
    for package in ("imaging", "serving"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                if node.func.id in RAISERS:
                    texts = (arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant))
                    for text in texts:
                        if isinstance(text, str) and re.match("[a-z_]+$", text):
                            yield text

"""The documents that follow from the code: OpenAPI, HTTP reference, tables of output formats."""

from __future__ import annotations

import json
from pathlib import Path

from model.preset import load_preset
from scripts.common.terminal import ROOT
from scripts.openapi.document import document
from scripts.openapi.reference import reference
from scripts.openapi.tables import with_tables

DOCUMENT = ROOT / "docs" / "openapi.json"
REFERENCE = ROOT / "docs" / "http.md"

# Written by hand, but for their tables.
PAGES_WITH_TABLES = (
    ROOT / "README.md",
    ROOT / "docs" / "client.md",
    ROOT / "docs" / "formats.md",
)

# The model of the examples.
PRESET = "voc-resnet50"


def generated_documents() -> dict[Path, str]:
    """Each document's path and its text, as it should be."""
    contract = document(load_preset(PRESET))
    return {
        DOCUMENT: json.dumps(contract, indent=1) + "\n",
        REFERENCE: reference(contract),
        **{page: with_tables(page.read_text("utf-8")) for page in PAGES_WITH_TABLES},
    }

"""Write docs/openapi.json and docs/http.md, out of the code that serves.

python -m scripts.write_openapi
"""

from __future__ import annotations

import json

from model.preset import load_preset
from scripts.common.terminal import ROOT, say, shown
from scripts.openapi.document import document
from scripts.openapi.reference import reference

DOCUMENT = ROOT / "docs" / "openapi.json"
REFERENCE = ROOT / "docs" / "http.md"

# The model of the examples.
PRESET = "voc-resnet50"


def made() -> tuple[str, str]:
    """The OpenAPI document and the page."""
    contract = document(load_preset(PRESET))
    return json.dumps(contract, indent=1) + "\n", reference(contract)


def main() -> None:
    for path, text in zip((DOCUMENT, REFERENCE), made()):
        path.write_text(text, "ascii")
        say(f"wrote {shown(path)}")


if __name__ == "__main__":
    main()

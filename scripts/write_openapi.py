"""Write docs/openapi.json, docs/http.md and the documents' tables of formats.

python -m scripts.write_openapi
"""

from __future__ import annotations

import argparse
import sys

from scripts.common.terminal import say, shown
from scripts.openapi.generate import generated_documents


def main() -> int:
    argparse.ArgumentParser(
        prog="python -m scripts.write_openapi", description=__doc__.split("\n")[0]
    ).parse_args()
    for path, text in generated_documents().items():
        path.write_text(text, "utf-8")
        say(f"wrote {shown(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

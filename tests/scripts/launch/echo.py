"""Archives of a few lines, which a TorchServe worker loads at once."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from scripts.common.terminal import ROOT

VERSION = "2.0"  # of the model: nothing depends on it

ECHO = """
class Echo:
    def initialize(self, context):
        pass

    def handle(self, rows, context):
        return [bytes(row["body"]) for row in rows]
"""


def archive_of(folder: Path, code: str, name: str = "echo") -> Path:
    """An archive whose handler is `code`, with the project's own settings for the model."""
    path = folder / f"{name}.mar"
    model = {"modelName": name, "modelVersion": VERSION, "handler": "handler.py"}
    manifest = {
        "createdOn": "01/01/1980 00:00:00",
        "runtime": "python",
        "model": {**model, "configFile": "model-config.yaml"},
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("handler.py", code)
        archive.write(ROOT / "model-config.yaml", "model-config.yaml")
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return path


def saying(text: str) -> str:
    """The code of a handler whose every response is `text`."""
    return ECHO.replace('bytes(row["body"])', repr(text))

"""A stub model for a real TorchServe, with which gateways are tested.

It responds with what it received, unless the body is a command: "sleep", "die" or "status".
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from scripts.common.terminal import ROOT
from serving.wire import MODEL_NAME
from tests.deploy.load import CheckedRequest

VERSION = "2.0"  # of the model: nothing depends on it

HANDLER = """
import hashlib, json, os, time
from pathlib import Path

FOLDER = Path({folder!r})


class Stub:
    def initialize(self, context):
        while (FOLDER / "blocked").exists():
            time.sleep(0.05)

    def handle(self, rows, context):
        return [self.respond(row, context, index) for index, row in enumerate(rows)]

    def respond(self, row, context, index):
        body = row.get("body", b"")
        body = bytes(body) if isinstance(body, (bytes, bytearray)) else json.dumps(body).encode()
        command, _, word = body.decode("latin-1").partition(" ")
        if command == "sleep":
            time.sleep(float(word))
        if command == "die":
            (FOLDER / word).open("a").write("x")
            os._exit(1)
        context.set_response_header(index, "Model-Digest", "sha256:0")
        if command == "status":
            with (FOLDER / "statuses").open("a") as file:
                file.write(word + "\\n")
            context.set_response_status(int(word), "Phrase", index)
            return b'{{"error":{{"code":"of_the_handler"}}}}'
        headers = context.get_all_request_header(index)
        parts = {{name: str(value) for name, value in row.items() if name != "body"}}
        digest = hashlib.sha256(body).hexdigest()
        context.set_response_content_type(index, "application/json")
        return json.dumps({{"sha256": digest, "headers": headers, "parts": parts}}).encode()
"""


def stub_archive(folder: Path) -> Path:
    """The archive, with the project's own settings for a model; commands write into `folder`."""
    path = folder / f"{MODEL_NAME}.mar"
    manifest = {
        "createdOn": "01/01/1980 00:00:00",
        "runtime": "python",
        "model": {
            "modelName": MODEL_NAME,
            "modelVersion": VERSION,
            "handler": "handler.py",
            "configFile": "model-config.yaml",
        },
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("handler.py", HANDLER.format(folder=str(folder)))
        archive.write(ROOT / "model-config.yaml", "model-config.yaml")
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return path


def make_request(client: int, number: int) -> CheckedRequest:
    """A body that no other request has, and the check of the stub's response to it."""
    body = f"{client} {number} ".encode() * 20_000
    digest = hashlib.sha256(body).hexdigest()
    return body, lambda response: response.json()["sha256"] == digest

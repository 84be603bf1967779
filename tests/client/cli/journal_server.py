"""A server that misbehaves as told and keeps a journal of its requests."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from segmenter_client.formats import FILE_SUFFIXES
from tests.photos import encoded

Reply = tuple[int, dict[str, str]]  # status and headers; status 0 closes without a response

MAX_BYTES = 1 << 20  # of an image, in the model card

LABELS = [f"class {index}" for index in range(5)]

CUT = {"Content-Length": "100000", "Connection": "close"}  # of a response that breaks off


@dataclass
class Journal:
    """What a server has received. `reply` gives its response to request n, from 0 on."""

    reply: Callable[[int], Reply] = lambda n: (200, {})
    pause: float = 0.0  # seconds that a request takes
    url: str = ""
    bodies: Counter[bytes] = field(default_factory=Counter)  # that got a response
    outputs: Counter[str | None] = field(default_factory=Counter)  # as the header names them
    times: list[float] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    names: set[str | None] = field(default_factory=set)
    in_flight: int = 0
    most_in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def num_served(self) -> int:
        with self.lock:
            return sum(self.bodies.values())


@contextlib.contextmanager
def journal_server(journal: Journal) -> Iterator[Journal]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with journal.lock:
                number = len(journal.times)
                journal.times.append(time.monotonic())
                journal.tokens.add(self.headers["Authorization"])
                journal.names.add(self.headers["X-Segmenter-Name"])
                journal.outputs[self.headers["X-Segmenter-Output"]] += 1
                journal.in_flight += 1
                journal.most_in_flight = max(journal.most_in_flight, journal.in_flight)
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            time.sleep(journal.pause)  # the work, not a way to wait for something
            status, headers = journal.reply(number)
            content = b'{"error":{"code":"c","message":"m"}}'
            if status == 200:
                content = response(body, self.headers.get("X-Segmenter-Output", "mask"))
            with journal.lock:
                journal.in_flight -= 1
            was_killed = len(body) < length  # the client, after a part of its request
            if status == 0 or was_killed:
                self.close_connection = True
                return
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
                self.wfile.flush()
            if status == 200 and headers != CUT:
                with journal.lock:
                    journal.bodies[body] += 1

        def do_GET(self) -> None:
            body = json.dumps(CARD).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    journal.url = f"http://127.0.0.1:{listener.server_port}/predictions/segmenter"
    try:
        yield journal
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


CARD = {
    "name": "journal",
    "version": "3.1",
    "digest": "sha256:" + "5" * 64,
    "precision": "int8",
    "description": "Its class is the length of a file.",
    "classes": [
        {"id": index, "label": label, "colour": [index, 0, 0]} for index, label in enumerate(LABELS)
    ],
    "void": 255,
    "input": {
        "formats": ["JPEG"],
        "max_bytes": MAX_BYTES,
        "max_pixels": 1000,
        "max_side": 100,
        "max_frames": 1,
    },
    "outputs": [{"name": "mask", "media_type": "image/png", "content": "a mask"}],
}


def response(body: bytes, outputs: str) -> bytes:
    """In a format, or a zip of several, of a mask of one pixel: its class is the body's length."""
    class_id = len(body) % 5
    mask = np.full((1, 1), class_id, np.uint8)
    contents = {
        "mask": encoded(Image.fromarray(mask), "PNG"),
        "json": json.dumps(
            {
                "classes": [
                    {"label": LABELS[class_id], "pixels": 1, "fraction": 1, "confidence": 0.5}
                ]
            }
        ).encode(),
        "overlay": encoded(Image.new("RGB", (1, 1)), "JPEG"),
    }
    names = outputs.split(",")
    if len(names) == 1:
        return contents[outputs]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(f"image{FILE_SUFFIXES[name]}", contents[name])
    return file.getvalue()


def write_files(folder: Path, number: int) -> list[Path]:
    """Files of different content, named like images."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        path.write_bytes(b"%d " % index * (index + 1))
    return paths


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

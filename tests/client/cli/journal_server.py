"""A server that misbehaves as told and keeps a journal of its requests."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tests.photos import encoded

Reply = tuple[int, dict[str, str]]  # status and headers; status 0 closes without a response

CUT = {"Content-Length": "100000", "Connection": "close"}  # of a response that breaks off


@dataclass
class Journal:
    """What a server has received. `reply` gives its response to request n, from 0 on."""

    reply: Callable[[int], Reply] = lambda n: (200, {})
    pause: float = 0.0  # seconds that a request takes
    url: str = ""
    bodies: Counter[bytes] = field(default_factory=Counter)  # that got a mask
    times: list[float] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
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
                journal.in_flight += 1
                journal.most_in_flight = max(journal.most_in_flight, journal.in_flight)
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            time.sleep(journal.pause)  # the work, not a way to wait for something
            status, headers = journal.reply(number)
            content = kserve(body) if status == 200 else b'{"error":{"code":"c","message":"m"}}'
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


def kserve(body: bytes) -> bytes:
    """A mask of one pixel, whose class is the length of the body."""
    mask = Image.fromarray(np.full((1, 1), len(body) % 5, np.uint8))
    png = base64.b64encode(encoded(mask, "PNG")).decode()
    classes = [{"id": len(body) % 5, "label": f"class {len(body) % 5}"}]
    return json.dumps({"predictions": [{"mask": {"b64": png}, "classes": classes}]}).encode()


def write_files(folder: Path, number: int) -> list[Path]:
    """Files of different content, named like images."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        path.write_bytes(b"%d " % index * (index + 1))
    return paths


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

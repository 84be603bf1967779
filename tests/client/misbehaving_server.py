"""A server that sends given bytes in turn, whatever they are, and then hangs up."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass
class Received:
    """The requests that a server has received, in their order."""

    url: str
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving(
    *responses: bytes, silent: bool = False, pause: float = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Received]:
    """A server that gives those responses in turn, and closes the connection after each.

    If `silent`, it keeps the connections open and sends nothing more. It pauses for `pause` seconds
    after each 256 kB that it reads.
    """
    waiting, over = deque(responses), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            length, body = int(self.headers["Content-Length"] or 0), bytearray()
            while len(body) < length:
                body += self.rfile.read(min(1 << 18, length - len(body)))
                time.sleep(pause)  # a slow line, not a way to wait for something
            received.bodies.append(bytes(body))
            received.headers.append(dict(self.headers))
            received.paths.append(self.path)
            self.wfile.write(waiting.popleft())
            if silent:
                over.wait()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        scheme = "https" if tls else "http"
        received = Received(f"{scheme}://127.0.0.1:{listener.server_port}/predictions/segmenter")
        if tls:
            listener.socket = tls.wrap_socket(listener.socket, server_side=True)
        # Little is in flight between a slow server and its clients.
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield received
        finally:
            over.set()
            listener.shutdown()
            thread.join()


def ok(body: bytes) -> bytes:
    """A whole response with status 200."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

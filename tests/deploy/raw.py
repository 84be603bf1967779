"""HTTP byte by byte, as no library would send it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator

from scripts.launch.gateway import Gateway
from scripts.launch.ports import HOST

TIMEOUT = 60.0  # seconds: a bound against hanging


@contextlib.contextmanager
def connected(gateway: Gateway, source: str = HOST) -> Iterator[ssl.SSLSocket]:
    """A connection from `source`, an address of the loopback network."""
    context = ssl.create_default_context(cafile=gateway.certificate)
    with (
        socket.create_connection((HOST, gateway.port), TIMEOUT, (source, 0)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        yield connection


def head(gateway: Gateway, method: str, target: str, *headers: str) -> bytes:
    """A request's head, with the token."""
    lines = (
        f"{method} {target} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {gateway.token}",
        *headers,
    )
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


def response_on(connection: socket.socket) -> tuple[http.client.HTTPResponse, bytes]:
    """The next response on the connection, and its body."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response, response.read()


def exchange(gateway: Gateway, request: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    """Send the bytes `request`; the response, and its body."""
    with connected(gateway) as connection:
        with contextlib.suppress(ConnectionError):  # refused before its end
            connection.sendall(request)
        return response_on(connection)

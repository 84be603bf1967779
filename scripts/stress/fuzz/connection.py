"""One request over a raw socket, to TorchServe or through the gateway."""

from __future__ import annotations

import http.client
import socket
import ssl
import time

from scripts.launch.gateway import Gateway
from scripts.launch.instance import Instance
from scripts.launch.ports import HOST
from scripts.stress.fuzz.hostile_requests import HostileRequest
from scripts.stress.fuzz.outcome import CLIENT_TIMEOUT_SECONDS, CLOSED, HUNG, Outcome
from scripts.stress.fuzz.raw_http import method_of, with_bearer_token


def send(
    instance: Instance,
    request: HostileRequest,
    gateway: Gateway | None = None,
    timeout: float = CLIENT_TIMEOUT_SECONDS,
) -> Outcome:
    """Write the request's bytes to a new connection and read the response.

    A gateway also gets its token: what it rejects without one is not under test.
    """
    started = time.monotonic()
    status: int | str = CLOSED
    from_handler, body = False, b""
    try:
        with open_connection(instance.ports.inference, gateway, timeout) as connection:
            wire = with_bearer_token(request.wire, gateway.token) if gateway else request.wire
            transmit(connection, wire)
            if not request.complete and gateway is None:  # TLS cannot close one direction
                connection.shutdown(socket.SHUT_WR)  # an OSError where TorchServe has closed it
            response = http.client.HTTPResponse(connection, method=method_of(request.wire))
            response.begin()
            body = response.read()
            status = response.status
            from_handler = response.headers["Model-Name"] is not None
    except TimeoutError:
        status = HUNG
    except (http.client.HTTPException, OSError):
        status = CLOSED
    seconds = time.monotonic() - started
    return Outcome(request, status, from_handler, seconds, body, gateway is not None)


def open_connection(port: int, gateway: Gateway | None, timeout: float) -> socket.socket:
    """A connection to TorchServe's `port`; to the gateway's own, with TLS, where there is one."""
    plain = socket.create_connection((HOST, gateway.port if gateway else port), timeout=timeout)
    if gateway is None:
        return plain
    trusted = ssl.create_default_context(cafile=str(gateway.certificate))
    return trusted.wrap_socket(plain, server_hostname="localhost")


def transmit(connection: socket.socket, wire: bytes) -> None:
    """Send the bytes. A server that stops reading may have sent its response already."""
    try:
        connection.sendall(wire)
    except TimeoutError:
        raise
    except OSError:  # reset, or closed in TLS's own way
        return

"""What a hostile request led to, and whether that is a fault of the service."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, replace

from scripts.stress.fuzz.hostile_requests import HostileRequest
from scripts.stress.fuzz.raw_http import method_of

# Seconds after which a client gives up, so that a hanging request is counted and the run goes on.
CLIENT_TIMEOUT_SECONDS = 60.0
# A slower response counts as a failure.
MAX_RESPONSE_SECONDS = 10.0

# In place of a status code: the connection was closed without a response, or the client gave up.
CLOSED, HUNG = "closed", "hung"

MAX_METHOD = 16  # characters kept of a request's method: broken HTTP may have no end to it


@dataclass(frozen=True)
class Outcome:
    """A request and its response."""

    request: HostileRequest
    status: int | str  # a status code, CLOSED or HUNG
    from_handler: bool  # whether the handler wrote the response, and not a server in front of it
    seconds: float
    body: bytes
    behind_gateway: bool = False

    @property
    def column(self) -> str:
        """Its column in the report's table."""
        if not isinstance(self.status, int) or self.from_handler:
            return str(self.status)
        return f"{self.status} {'gateway' if self.behind_gateway else 'frontend'}"

    @property
    def fault(self) -> str | None:
        """What is wrong with the response; None where it is acceptable."""
        if self.status == HUNG:
            return f"no response within {CLIENT_TIMEOUT_SECONDS:.0f} s"
        if self.status == CLOSED:
            return "closed without a response" if self.request.complete else None
        if not isinstance(self.status, int) or self.status < 400:
            return None
        if self.status >= 500 and not self.excused:
            return f"status {self.status}"
        ours = self.from_handler or self.behind_gateway
        without_body = method_of(self.request.wire) == "HEAD"
        if ours and not without_body and not is_json_error(self.body):
            return "an error that is not the service's JSON"
        return None

    @property
    def excused(self) -> bool:
        """Whether TorchServe's frontend failed on the request before any worker saw it.

        Netty throws on malformed forms and TorchServe on paths such as "*", and both become 500.
        No setting changes that; the gateway turns them into 4xx.
        """
        by_frontend = not self.from_handler and not self.behind_gateway
        return by_frontend and self.status == 500 and b"InternalServerException" not in self.body

    @property
    def failed(self) -> bool:
        return self.fault is not None or self.seconds > MAX_RESPONSE_SECONDS


def without_payload(outcome: Outcome) -> Outcome:
    """The outcome without bytes that nobody will read: 10,000 requests are half a gigabyte."""
    if outcome.failed:
        return outcome
    body = b"" if outcome.status == http.client.OK else outcome.body
    method = method_of(outcome.request.wire)[:MAX_METHOD].encode("latin-1")
    return replace(outcome, request=replace(outcome.request, wire=method), body=body)


def is_json_error(body: bytes) -> bool:
    """Whether the body is {"error": {"code": ..., "message": ...}} without a traceback.

    In KServe's protocols it is {"error": "code: message"}.
    """
    try:
        error = json.loads(body)["error"]
        complete = ": " in error if isinstance(error, str) else {"code", "message"} <= error.keys()
        return complete and b"Traceback" not in body
    except (ValueError, LookupError, AttributeError, TypeError):
        return False

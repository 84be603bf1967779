"""Why there is no segmentation.

SegmenterError
  Unreachable        no connection, after all retries
  NoResponse         connected, but no complete response: it timed out, or broke off at every try
  InvalidResponse    the response is not one of the service's
  ErrorResponse      the service's own error
    RequestRefused     4xx: the request is at fault
    ServerError        5xx: the service is at fault, or overloaded (503)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from urllib3.exceptions import (
    DecodeError,
    HTTPError,
    MaxRetryError,
    ProtocolError,
    ReadTimeoutError,
)

# Codes of the service's errors: there is no such output; the request holds no image.
UNKNOWN_OUTPUT: Final = "unknown_output"
NO_IMAGE: Final = "image_empty"

# What a service of version 1.0 responds to a request for the model card.
WITHOUT_MODEL_CARD: Final = (UNKNOWN_OUTPUT, NO_IMAGE)


class SegmenterError(Exception):
    """The base of all errors here; the message is one line for people."""


class Unreachable(SegmenterError):
    """No connection could be made, in spite of retries."""


class NoResponse(SegmenterError):
    """Connected, but the response timed out, or the connection broke at every try.

    A request that timed out is not retried: the image may be the reason.
    """


class InvalidResponse(SegmenterError):
    """A response that the service does not give; something else is at that address."""


class ErrorResponse(SegmenterError):
    """The service's own error.

    `status` is the HTTP status code, `code` the service's stable name of the fault
    ("image_too_large"), `message` its text for people, `details` the figures behind it
    ({"max_pixels": 50000000}).
    """

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, object]) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class RequestRefused(ErrorResponse):
    """4xx: the same request will be refused again."""


class ServerError(ErrorResponse):
    """5xx: not the image's fault; a 503 has been retried as often as allowed."""


def error_response(status: int, body: bytes) -> SegmenterError:
    """The exception for a status other than 200, from the service, a proxy or TorchServe itself."""
    try:
        document = json.loads(body)
        if isinstance(document.get("error"), dict):
            details = dict(document["error"])
            code, message = str(details.pop("code")), str(details.pop("message"))
        else:  # TorchServe's own: {"code": 503, "type": "...", "message": "..."}
            code, message, details = str(document["type"]), str(document["message"]), {}
    except (ValueError, AttributeError, KeyError):
        code, message, details = f"http_{status}", f"the response has HTTP status {status}", {}
    if status >= 500:
        return ServerError(status, code, message, details)
    if status >= 400:
        return RequestRefused(status, code, message, details)
    return InvalidResponse(f"HTTP status {status}; is this the address of the predictions?")


def no_model_card(url: str) -> InvalidResponse:
    return InvalidResponse(
        f"{url} does not describe its model: the service is older than this client"
    )


def connection_error(url: str, timeout: float, error: HTTPError) -> SegmenterError:
    """The exception for a request without a complete response, after all retries."""
    fault = error.reason if isinstance(error, MaxRetryError) else error
    if isinstance(fault, ReadTimeoutError):
        return no_data(url, timeout)
    if isinstance(fault, (ProtocolError, DecodeError)):
        return broke_off(url, root_cause(fault))
    return unreachable(url, root_cause(error))


def no_data(url: str, timeout: float) -> NoResponse:
    return NoResponse(f"no complete response from {url}: no data for {timeout:.3g} s")


def broke_off(url: str, reason: str) -> NoResponse:
    return NoResponse(f"{url} broke off: {reason}")


def unreachable(url: str, reason: str) -> Unreachable:
    return Unreachable(f"cannot reach {url}: {reason}")


def root_cause(error: BaseException) -> str:
    """The operating system's words under the layers of a library: "Connection refused"."""
    *_, root = causes(error)
    return str(getattr(root, "strerror", None) or root)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, the one that it was raised for, and so on to the first of them."""
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        # Of several addresses, an ExceptionGroup has an error for each; urllib3 has them as args.
        group = getattr(inner, "exceptions", ())
        candidates = [inner.__cause__, *group, *reversed(inner.args)]
        inner = next((cause for cause in candidates if isinstance(cause, BaseException)), None)

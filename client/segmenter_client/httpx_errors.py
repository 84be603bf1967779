"""httpx's errors as the client's, and which of them stay."""

from __future__ import annotations

import ssl
from typing import Final, Union

import httpx

from segmenter_client.errors import (
    SegmenterError,
    broke_off,
    causes,
    no_data,
    root_cause,
    unreachable,
)

# What sending a request raises: no URL, no connection, no response, or a broken one.
SendError = Union[httpx.RequestError, httpx.InvalidURL]
SEND_ERRORS: Final = (httpx.RequestError, httpx.InvalidURL)

# The connection was there: it broke, or what came over it is no response.
BROKEN: Final = (
    *(httpx.ReadError, httpx.WriteError, httpx.WriteTimeout, httpx.CloseError),
    *(httpx.RemoteProtocolError, httpx.DecodingError),
)

# Not an address that a request can be sent to.
NO_ADDRESS: Final = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)


def send_error(url: str, timeout: float, error: SendError) -> SegmenterError:
    """The exception for a request without a complete response, after all retries."""
    if isinstance(error, httpx.ReadTimeout):
        return no_data(url, timeout)
    reason = root_cause(error) or type(error).__name__
    if isinstance(error, BROKEN) and not is_tls_disagreement(error):
        return broke_off(url, reason)
    if isinstance(error, httpx.ConnectTimeout):
        reason = "the connection timed out"
    return unreachable(url, reason)


def is_permanent(error: SendError) -> bool:
    """Whether the same request would fail again; `retries.is_permanent` gives the reasons."""
    return isinstance(
        error, (httpx.ReadTimeout, httpx.DecodingError, *NO_ADDRESS)
    ) or is_tls_disagreement(error)


def is_tls_disagreement(error: BaseException) -> bool:
    """A certificate that is not trusted, a protocol that one side does not speak."""
    return any(
        isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError)
        for cause in causes(error)
    )

"""When a prediction is sent again, and after which pauses."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import TYPE_CHECKING, Final

from urllib3 import BaseHTTPResponse, Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import InvalidHeader, ProxyError, ReadTimeoutError, SSLError

if TYPE_CHECKING:
    from typing_extensions import Self

# Too many requests; the gateway has no service behind it; overloaded. Not so a worker that died
# (500, 507): the image may be the reason.
RETRIED_STATUSES: Final = (429, 502, 503)

# Seconds. The pauses between tries are 0, 2, 4, 8, ... times the first, all but 0 with up to the
# first at random on top, so that clients refused together do not return together; Retry-After
# takes precedence. Six of them are a minute, in which a service has started again.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


def retry_policy(retries: int) -> Retry:
    """Up to so many retries in all, whatever fails: connecting, the response, or its body."""
    return PredictionRetry(
        retries,
        allowed_methods=None,  # POST, too: a prediction changes nothing
        status_forcelist=RETRIED_STATUSES,
        raise_on_status=False,  # the last response itself says what is wrong
        backoff_factor=FIRST_PAUSE,
        backoff_jitter=FIRST_PAUSE,
        backoff_max=LONGEST_PAUSE,
    )


class PredictionRetry(Retry):
    """urllib3's retries, but not of what stays wrong, and with no pause beyond LONGEST_PAUSE."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if error is not None and is_permanent(error):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Seconds, at most LONGEST_PAUSE; None also for a value that is neither number nor date."""
        try:
            seconds = super().get_retry_after(response)
        except InvalidHeader:
            return None
        return None if seconds is None else min(seconds, LONGEST_PAUSE)


def is_permanent(error: Exception) -> bool:
    """Whether the same request would fail again.

    So does one that timed out, where the image may be the reason, and TLS that cannot be agreed on,
    such as a certificate that is not trusted; a peer that hangs up in its handshake may restart.
    """
    if isinstance(error, ProxyError):
        error = error.original_error
    if isinstance(error, SSLError):
        return not isinstance(error.args[0], ssl.SSLEOFError)
    return isinstance(error, ReadTimeoutError)

"""The service over HTTP: bytes of an image to bytes of an answer, tried again where that helps."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import ReadTimeoutError

from client.errors import NoAnswer, Unreachable, answered_error

if TYPE_CHECKING:
    from typing_extensions import Self

VERSION = "1.0"  # of the model, as scripts/build_archive.py writes it

# Too many requests; the gateway has no service; overloaded. A prediction changes nothing, so that
# it may be sent again.
TRY_AGAIN = (429, 502, 503)

# Seconds. The pauses between tries are 0, 2, 4, 8, ... times the first, each with as much again at
# random, so that clients turned away together do not come back together; Retry-After goes before.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Service:
    """A running service, and connections to it that are used again; threads may share it.

    `url` is its address, as http://HOST:8080/predictions/segmenter, with /VERSION at the end for
    another version than 1.0; `token` what its gateway asks for; `verify` False for any
    certificate, or the file of one to trust; `timeout` the seconds that one try may take; `retries`
    how often to try again; `connections` how many threads ask.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        verify: bool | str | Path = True,
        timeout: float = 150.0,  # more than the 120 s after which TorchServe replaces a worker
        retries: int = 6,
        connections: int = 8,
    ) -> None:
        self.url = with_version(url)
        self.timeout = timeout
        self.verify = verify if isinstance(verify, bool) else str(verify)
        self.http = requests.Session()
        # A proxy of the environment does not lead to this machine.
        self.http.trust_env = urlsplit(url).hostname not in LOOPBACK
        if token is not None:
            self.http.auth = BearerToken(token)
        adapter = HTTPAdapter(pool_maxsize=connections, max_retries=Patience.of(retries))
        self.http.mount("http://", adapter)
        self.http.mount("https://", adapter)

    def ask(self, image: bytes, output: str) -> bytes:
        """The answer named `output` (mask, overlay, json, ...) for an image file's bytes.

        Raises a SegmenterError.
        """
        try:
            answer = self.http.post(
                f"{self.url}/{output}",
                data=image,
                timeout=self.timeout,
                verify=self.verify,  # here, as the environment goes before the session's
                allow_redirects=False,  # a POST would become a GET
            )
        except requests.ReadTimeout:
            raise NoAnswer(f"no answer from {self.url} within {self.timeout:g} s") from None
        except requests.RequestException as error:
            raise Unreachable(f"cannot reach {self.url}: {reason(error)}") from error
        if answer.status_code != requests.codes.ok:
            raise answered_error(answer.status_code, answer.content)
        return answer.content

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Patience(Retry):
    """When to send a request again."""

    @classmethod
    def of(cls, retries: int) -> Patience:
        return cls(
            total=retries,
            other=0,  # TLS: a wrong certificate stays wrong
            allowed_methods=None,  # POST too
            status_forcelist=TRY_AGAIN,
            raise_on_status=False,  # the last answer says why
            backoff_factor=FIRST_PAUSE,
            backoff_jitter=FIRST_PAUSE,
            backoff_max=LONGEST_PAUSE,
            retry_after_max=LONGEST_PAUSE,
        )

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


def with_version(url: str) -> str:
    """The address to which an output's name is added: TorchServe takes what follows a version."""
    url = url.rstrip("/")
    _, separator, name = url.partition("/predictions/")
    return f"{url}/{VERSION}" if separator and "/" not in name else url


class BearerToken(requests.auth.AuthBase):
    """As an object, since requests lets a .netrc overwrite a plain header."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def reason(error: BaseException) -> str:
    """What lies under the layers of requests and urllib3: "Connection refused"."""
    cause: Any = error
    while True:
        inner = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__
        if not isinstance(inner, BaseException) and cause.args:
            inner = cause.args[0] if isinstance(cause.args[0], BaseException) else cause.args[-1]
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return str(getattr(cause, "strerror", None) or cause)

"""The service over HTTP: bytes of an image to bytes of an answer, tried again where that helps."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, Retry
from urllib3.exceptions import DecodeError, InvalidHeader, ProtocolError, ReadTimeoutError, SSLError

from segmenter_client.errors import NoAnswer, SegmenterError, Unreachable, answered_error

VERSION = "1.0"  # of the model, as scripts/archive/build.py writes it

# Too many requests; the gateway has no service; overloaded. A prediction changes nothing, so that
# it may be sent again. Not so a worker that died (500, 507): the image may be the reason.
TRY_AGAIN = (429, 502, 503)

# Seconds to make a connection. An address that swallows what is sent to it would cost `timeout` at
# every try; this leaves room for three lost packets, which TCP sends again after 1, 3 and 7 s.
CONNECT_SECONDS = 10.0

# Of a connection that was made and did not last. What goes wrong while connecting comes as
# MaxRetryError, TLS included.
BROKEN = (ProtocolError, DecodeError, SSLError)

# Seconds. The pauses between tries are 0, 2, 4, 8, ... times the first, all but 0 with up to the
# first at random on top, so that clients turned away together part; Retry-After goes before. Six of
# them are a minute, in which a service has started again.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Service:
    """A running service, and connections to it that are used again; threads may share it.

    `url` is its address, as http://HOST:8080/predictions/segmenter, with /VERSION at the end for
    another version than 1.0; `token` what its gateway asks for; `verify` False for any
    certificate, or the file of one to trust; `timeout` the seconds for which the service may be
    silent, once connected; `retries` how often to try again; `connections` how many threads ask.
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
        # The adapters' own retries end where an answer begins, and it may break off after that.
        self.patience = Retry(
            retries,
            backoff_factor=FIRST_PAUSE,
            backoff_jitter=FIRST_PAUSE,
            backoff_max=LONGEST_PAUSE,
            retry_after_max=LONGEST_PAUSE,
        )
        adapter = HTTPAdapter(pool_maxsize=connections)
        self.http.mount("http://", adapter)
        self.http.mount("https://", adapter)

    def ask(
        self,
        image: bytes,
        output: str,
        *,
        classes: Sequence[str | int] | None = None,
        threshold: float | None = None,
    ) -> bytes:
        """The answer named `output` (mask, overlay, json, ...) for an image file's bytes.

        `classes`, labels or ids, makes the pixels of all others void; `threshold`, 0..1, those
        whose class is less probable. Raises a SegmenterError, and ValueError for classes that
        cannot be sent.
        """
        headers = selection(classes, threshold)
        patience = self.patience
        while True:
            try:
                return self._ask_once(image, output, headers)
            except Passing as passing:
                if not patience.total:
                    raise passing.error from passing.__cause__
                patience = patience.increment("POST")
                try:
                    patience.sleep(passing.answer)
                except InvalidHeader:  # a Retry-After that is neither seconds nor a date
                    patience.sleep()

    def _ask_once(self, image: bytes, output: str, headers: Mapping[str, str]) -> bytes:
        """As `ask`, in one try: raises Passing where another may fare better."""
        begin = time.monotonic()
        try:
            answer = self.http.post(
                f"{self.url}/{output}",
                # As a file it is sent in pieces, and each may take CONNECT_SECONDS, under which
                # urllib3 sends; bytes would all have to be gone by then.
                data=io.BytesIO(image),
                headers=headers,
                timeout=(CONNECT_SECONDS, self.timeout),
                verify=self.verify,  # here, as the environment goes before the session's
                allow_redirects=False,  # a POST would become a GET
            )
        except requests.RequestException as error:
            raise self._lost(error, time.monotonic() - begin) from error
        if answer.status_code == requests.codes.ok:
            return answer.content
        failure = answered_error(answer.status_code, answer.content)
        raise Passing(failure, answer.raw) if answer.status_code in TRY_AGAIN else failure

    def _lost(self, error: requests.RequestException, seconds: float) -> SegmenterError | Passing:
        """What it means that there is no answer, or not all of one, after so many seconds."""
        cause = error.args[0] if error.args else None  # urllib3's, which knows how far it came
        if isinstance(cause, ReadTimeoutError):
            return NoAnswer(f"no answer from {self.url}, or not all of it, in {seconds:.3g} s")
        if isinstance(cause, BROKEN):
            return Passing(NoAnswer(f"{self.url} broke off: {reason(error)}"))
        unreachable = Unreachable(f"cannot reach {self.url}: {reason(error)}")
        # A wrong certificate stays wrong, and so does an address that is none.
        passes = isinstance(error, requests.ConnectionError) and not isinstance(
            error, requests.exceptions.SSLError
        )
        return Passing(unreachable) if passes else unreachable

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


class Passing(Exception):
    """A try that failed of what may be over at the next; `error` is what to raise after the last.

    `answer` is what the service said, and after how long to come back, if it said anything.
    """

    def __init__(self, error: SegmenterError, answer: BaseHTTPResponse | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.answer = answer


def selection(classes: Sequence[str | int] | None, threshold: float | None) -> dict[str, str]:
    """The headers that choose pixels. Raises ValueError for classes that no header holds."""
    headers = {}
    if classes is not None:
        names = classes if isinstance(classes, str) else ",".join(map(str, classes))
        if not names.strip(" ,"):  # the service would take it for all of them
            raise ValueError("name at least one class")
        if not (names.isascii() and names.isprintable()):
            raise ValueError(f"a header does not hold {names!r}; name these classes by their ids")
        headers["X-Segmenter-Classes"] = names
    if threshold is not None:
        headers["X-Segmenter-Threshold"] = str(threshold)
    return headers


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

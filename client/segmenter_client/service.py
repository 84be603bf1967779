"""The service over HTTP: the bytes of an image in, the bytes of a response out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from segmenter_client.connections import connection_pool
from segmenter_client.errors import connection_error, error_response
from segmenter_client.retries import retry_policy

# Seconds to make a connection. An address that drops all packets would cost `timeout` at every
# try; this leaves room for three lost packets, which TCP sends again after 1, 3 and 7 s.
CONNECT_SECONDS = 10.0

# Request headers. Unlike a path suffix, the first does not depend on a version in the URL.
OUTPUT_HEADER: Final = "X-Segmenter-Output"
CLASSES_HEADER: Final = "X-Segmenter-Classes"
THRESHOLD_HEADER: Final = "X-Segmenter-Threshold"


class Service:
    """A running service and reusable connections to it; threads may share it.

    `url` is the address of its predictions, such as http://HOST:8080/predictions/segmenter, with
    /VERSION at the end for another version of the model than the default one. `token` is the
    gateway's; `verify` is False for any certificate, or the file of one to trust; `timeout` is in
    seconds without data, once connected; `retries` is for each request; `connections` is the
    number of threads that send requests. Raises ValueError for a token that no header can carry.
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
        if token is not None and not is_header_value(token):
            raise ValueError("a token consists of printable ASCII characters")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._retries = retry_policy(retries)
        self._pool = connection_pool(url, verify=verify, connections=connections)

    def predict(
        self,
        image: bytes,
        output_format: str,
        *,
        classes: Sequence[str | int] | None = None,
        threshold: float | None = None,
    ) -> bytes:
        """The response for an image file's bytes in an output format (mask, overlay, json, ...).

        `classes`, labels or ids, makes the pixels of all others void; `threshold`, 0..1, those
        whose class is less probable. Raises a SegmenterError, and ValueError for classes that no
        header can carry.
        """
        headers = {
            **self._authorization,
            **selection_headers(classes, threshold),
            OUTPUT_HEADER: output_format,
            "Content-Length": str(len(image)),
        }
        try:
            response = self._pool.request(
                "POST",
                self.url,
                # A file is sent in blocks, and each may take CONNECT_SECONDS, which is urllib3's
                # time limit for sending, too; bytes would all have to be sent within it.
                body=io.BytesIO(image),
                headers=headers,
                timeout=Timeout(connect=CONNECT_SECONDS, read=self.timeout),
                retries=self._retries,
                redirect=False,  # a POST would become a GET
            )
        except HTTPError as error:
            raise connection_error(self.url, self.timeout, error) from error
        if response.status != 200:
            raise error_response(response.status, response.data)
        return response.data

    def close(self) -> None:
        self._pool.clear()

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def selection_headers(
    classes: Sequence[str | int] | None, threshold: float | None
) -> dict[str, str]:
    """The headers that select pixels. Raises ValueError for classes that no header can carry."""
    headers = {}
    if classes is not None:
        names = classes if isinstance(classes, str) else ",".join(map(str, classes))
        if not names.strip(" ,"):  # the service would read it as all of them
            raise ValueError("name at least one class")
        if not is_header_value(names):
            raise ValueError(f"a header cannot carry {names!r}; name these classes by their ids")
        headers[CLASSES_HEADER] = names
    if threshold is not None:
        headers[THRESHOLD_HEADER] = str(threshold)
    return headers


def is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable()

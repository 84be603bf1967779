"""The service over HTTP: the bytes of an image in, the bytes of a response out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from segmenter_client.connections import connection_pool
from segmenter_client.errors import (
    UNKNOWN_OUTPUT,
    WITHOUT_MODEL_CARD,
    RequestRefused,
    connection_error,
    error_response,
    no_model_card,
)
from segmenter_client.model_card import ModelCard, parse_model_card
from segmenter_client.request_headers import (
    MODEL_CARD,
    OUTPUT_HEADER,
    authorization_headers,
    prediction_headers,
)
from segmenter_client.responses import parse, parse_archive
from segmenter_client.retries import retry_policy

# Seconds to make a connection. An address that drops all packets would cost `timeout` at every
# try; this leaves room for three lost packets, which TCP sends again after 1, 3 and 7 s.
CONNECT_SECONDS = 10.0


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
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._authorization = authorization_headers(token)
        self._retries = retry_policy(retries)
        self._pool = connection_pool(url, verify=verify, connections=connections)

    def predict(
        self,
        image: bytes,
        output_format: str,
        *,
        classes: Sequence[str | int] | None = None,
        threshold: float | None = None,
        name: str | None = None,
    ) -> bytes:
        """The response for an image file's bytes in an output format (mask, overlay, json, ...).

        `classes`, labels or ids, makes the pixels of all others void; `threshold`, 0..1, those
        whose class is less probable. `name` is the file's, for formats that name it. Raises a
        SegmenterError, and ValueError for classes that no header can carry.
        """
        headers = prediction_headers(output_format, classes=classes, threshold=threshold, name=name)
        return self._response("POST", headers, image)

    def predict_all(
        self,
        image: bytes,
        output_formats: Sequence[str],
        *,
        classes: Sequence[str | int] | None = None,
        threshold: float | None = None,
        name: str | None = None,
    ) -> dict[str, bytes]:
        """The responses for one image in several output formats, by their names, in one request.

        Options and errors are those of `predict`. A service of version 1.0, which has one format in
        a request, gets one for each.
        """
        predict = partial(self.predict, image, classes=classes, threshold=threshold, name=name)
        output_formats = list(dict.fromkeys(output_formats))
        if len(output_formats) > 1:
            try:
                body = predict(",".join(output_formats))
                return parse(body, partial(parse_archive, output_formats=output_formats))
            except RequestRefused as error:
                if error.code != UNKNOWN_OUTPUT:
                    raise
        return {output_format: predict(output_format) for output_format in output_formats}

    def model(self) -> ModelCard:
        """The model that is served at `url`: its version, classes, limits and output formats.

        Raises a SegmenterError, which is InvalidResponse for a service of version 1.0.
        """
        try:
            body = self._response("GET", {OUTPUT_HEADER: MODEL_CARD})
        except RequestRefused as error:
            if error.code not in WITHOUT_MODEL_CARD:
                raise
            raise no_model_card(self.url) from error
        return parse(body, parse_model_card)

    def _response(
        self, method: str, headers: Mapping[str, str], image: bytes | None = None
    ) -> bytes:
        """The body of a response with status 200. Raises a SegmenterError for any other."""
        length = {} if image is None else {"Content-Length": str(len(image))}
        try:
            response = self._pool.request(
                method,
                self.url,
                # A file is sent in blocks, and each may take CONNECT_SECONDS, which is urllib3's
                # time limit for sending, too; bytes would all have to be sent within it.
                body=None if image is None else io.BytesIO(image),
                headers={**self._authorization, **length, **headers},
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

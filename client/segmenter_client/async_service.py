"""The service over HTTP for programs that use asyncio. It needs the extra `async`.

    async with AsyncService("http://127.0.0.1:8080/predictions/segmenter") as service:
        segmentations = await asyncio.gather(*map(service.segment, paths))

What a request contains, what is retried, and the errors are those of the synchronous client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

import anyio
import httpx
from anyio.to_thread import run_sync
from urllib3 import HTTPResponse, Retry

from segmenter_client.connections import environment_proxy, tls_context
from segmenter_client.errors import (
    UNKNOWN_OUTPUT,
    WITHOUT_MODEL_CARD,
    RequestRefused,
    error_response,
    no_model_card,
)
from segmenter_client.httpx_errors import SEND_ERRORS, is_permanent, send_error
from segmenter_client.image_responses import ImageResponses
from segmenter_client.images import ImageLike, image_bytes
from segmenter_client.model_card import ModelCard, parse_model_card
from segmenter_client.request_headers import (
    MODEL_CARD,
    OUTPUT_HEADER,
    authorization_headers,
    prediction_headers,
)
from segmenter_client.responses import parse, parse_archive
from segmenter_client.retries import retry_policy
from segmenter_client.segmentation import Segmentation, predict_once, segmentation_of
from segmenter_client.service import CONNECT_SECONDS, Service

# A file is sent in blocks, each of which may take CONNECT_SECONDS: of a slow line, no limit to all.
BLOCK_BYTES: Final = 1 << 16


class AsyncService:
    """A running service, for the tasks of one event loop.

    `connections` is the number of requests in flight; further ones wait, those of `segment`
    without having read their image. The other arguments are those of `Service`. Raises
    ValueError for a token that no header can carry and for a proxy that does not speak HTTP.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        verify: bool | str | Path = True,
        timeout: float = 150.0,  # as of Service
        retries: int = 6,
        connections: int = 8,
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._retries = retry_policy(retries)
        # Not the pool's own limit: a request keeps its slot in its pauses between two tries, or all
        # that wait would try, one after the other, a service that is overloaded.
        self._slots = anyio.Semaphore(connections)
        self._client = httpx.AsyncClient(
            headers=authorization_headers(token),
            verify=tls_context(verify),
            timeout=httpx.Timeout(
                connect=CONNECT_SECONDS, read=timeout, write=CONNECT_SECONDS, pool=None
            ),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            proxy=environment_proxy(url),
            trust_env=False,
        )
        # What a segmentation's further pictures are requested by, outside the event loop.
        self._connect = partial(
            Service, url, token=token, verify=verify, timeout=timeout, retries=retries
        )

    async def segment(
        self,
        image: ImageLike,
        *,
        classes: Sequence[str | int] | None = None,
        threshold: float | None = None,
    ) -> Segmentation:
        """As the function `segment`. The image is read, and the response parsed, in a thread.

        The segmentation's `overlay` and `confidence` block, as there: call them in a thread, or get
        these formats from `predict_all`.
        """
        headers = prediction_headers("json", classes=classes, threshold=threshold, name=None)
        async with self._slots:
            content = await run_sync(image_bytes, image)
            body = await self._response("POST", headers, content)
        predict = partial(predict_once, self._connect, classes=classes, threshold=threshold)
        return await run_sync(segmentation_of, ImageResponses(content, predict, {"json": body}))

    async def predict(
        self,
        image: bytes,
        output_format: str,
        *,
        classes: Sequence[str | int] | None = None,
        threshold: float | None = None,
        name: str | None = None,
    ) -> bytes:
        """As `Service.predict`."""
        headers = prediction_headers(output_format, classes=classes, threshold=threshold, name=name)
        async with self._slots:
            return await self._response("POST", headers, image)

    async def predict_all(
        self,
        image: bytes,
        output_formats: Sequence[str],
        *,
        classes: Sequence[str | int] | None = None,
        threshold: float | None = None,
        name: str | None = None,
    ) -> dict[str, bytes]:
        """As `Service.predict_all`."""
        predict = partial(self.predict, image, classes=classes, threshold=threshold, name=name)
        output_formats = list(dict.fromkeys(output_formats))
        if len(output_formats) > 1:
            try:
                body = await predict(",".join(output_formats))
                return parse(body, partial(parse_archive, output_formats=output_formats))
            except RequestRefused as error:
                if error.code != UNKNOWN_OUTPUT:
                    raise
        return {output_format: await predict(output_format) for output_format in output_formats}

    async def model(self) -> ModelCard:
        """As `Service.model`."""
        try:
            async with self._slots:
                body = await self._response("GET", {OUTPUT_HEADER: MODEL_CARD})
        except RequestRefused as error:
            if error.code not in WITHOUT_MODEL_CARD:
                raise
            raise no_model_card(self.url) from error
        return parse(body, parse_model_card)

    async def _response(
        self, method: str, headers: Mapping[str, str], image: bytes | None = None
    ) -> bytes:
        """The body of a response with status 200. Raises a SegmenterError for any other."""
        retries = self._retries
        while True:
            try:
                response = await self._send(method, headers, image)
            except SEND_ERRORS as error:
                if not retries.total or is_permanent(error):
                    raise send_error(self.url, self.timeout, error) from error
                retries = retries.increment(method, self.url, error=error)
                pause = retries.get_backoff_time()
            else:
                if response.status_code == 200:
                    return response.content
                reply = HTTPResponse(headers=response.headers, status=response.status_code)
                if not retries.total or not is_retried(retries, method, reply):
                    raise error_response(response.status_code, response.content)
                retries = retries.increment(method, self.url, response=reply)
                pause = retries.get_retry_after(reply) or retries.get_backoff_time()
            await anyio.sleep(pause)

    async def _send(
        self, method: str, headers: Mapping[str, str], image: bytes | None
    ) -> httpx.Response:
        if image is None:
            return await self._client.request(method, self.url, headers=headers)
        length = {"Content-Length": str(len(image))}
        return await self._client.request(
            method, self.url, headers={**headers, **length}, content=blocks(image)
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> AsyncService:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def is_retried(retries: Retry, method: str, reply: HTTPResponse) -> bool:
    return retries.is_retry(method, reply.status, "Retry-After" in reply.headers)


async def blocks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), BLOCK_BYTES):
        yield content[start : start + BLOCK_BYTES]

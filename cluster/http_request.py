"""Starlette's request -> the service's own HttpRequest."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

from starlette.requests import Request

from cluster.form import parse_form
from serving.errors import RequestError
from serving.request.names import unique
from serving.request.parts import declared_type
from serving.types import HttpRequest
from serving.wire import KSERVE, OPEN_INFERENCE, PROTOCOL_HEADER, QUERY_HEADER

# Bytes of a body: max_request_size in config.properties, where the reason is. A test holds the two
# together.
MAX_BODY_BYTES = 50_331_648

# `curl --data-binary` declares a form, which the service reads none of: so it is the image itself.
CURLS_FORM = "application/x-www-form-urlencoded"
BYTES = "application/octet-stream"
FORM = "multipart/form-data"

REQUEST_ID = "x-request-id"

# Headers of a body. A request for a document has none.
BODY_HEADERS = ("content-length", "transfer-encoding", "content-type")


async def prediction_request(request: Request, path_suffix: str) -> HttpRequest:
    """The request with its body. Raises RequestError: 413 for its size, 400 for a broken form."""
    headers = request_headers(request)
    query = request.url.query or headers.get(QUERY_HEADER.lower(), "")
    received = HttpRequest(request_id(request), headers, {}, path_suffix, query)
    declared = declared_type(received)
    if declared == CURLS_FORM:
        received = replace(received, headers={**headers, "content-type": BYTES})
    body = await read_body(request)
    if not body:
        return received
    if declared != FORM:
        return replace(received, parts={"body": body})
    # In a thread: of the worst 48 MiB it takes 0.6 s, in which the event loop would stand still.
    form = await asyncio.to_thread(parse_form, headers["content-type"], body)
    return replace(
        received,
        parts=unique(((part.name, part.data) for part in form), "form field"),
        filenames={part.name: part.filename for part in form if part.filename is not None},
    )


def document_request(request: Request, name: str) -> HttpRequest:
    """A request for the document of that name, whatever body it has."""
    headers = request_headers(request)
    for header in BODY_HEADERS:
        headers.pop(header, None)
    return HttpRequest(request_id(request), headers, {}, name)


def request_headers(request: Request) -> dict[str, str]:
    """Headers by their names in lower case; of two with the same name the last counts.

    The path says which protocol errors are in, as behind the gateway.
    """
    headers = dict(request.headers)
    for prefix, protocol in (("/v1/", KSERVE), ("/v2/", OPEN_INFERENCE)):
        if request.url.path.startswith(prefix):
            headers[PROTOCOL_HEADER.lower()] = protocol
    return headers


def request_id(request: Request) -> str:
    """The id that Ray Serve has given to the request, and sends back with its response."""
    return request.headers.get(REQUEST_ID) or str(uuid.uuid4())


async def read_body(request: Request) -> bytearray:
    """Raises RequestError 413 as soon as the body is known to be too large."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise too_large()
    body = bytearray()  # pieces that are joined at the end would be in memory twice
    async for chunk in request.stream():
        if len(body) + len(chunk) > MAX_BODY_BYTES:
            raise too_large()
        body += chunk
    return body


def too_large() -> RequestError:
    return RequestError(
        413,
        "request_too_large",
        f"The request has more than {MAX_BODY_BYTES} bytes.",
        max_bytes=MAX_BODY_BYTES,
    )

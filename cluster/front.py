"""The service's HTTP contract as a Starlette application: which address leads to what."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from cluster.http_request import (
    document_request,
    prediction_request,
    request_headers,
    request_id,
)
from cluster.paths import check_version, output_in
from cluster.worker import Worker
from serving.errors import RequestError, client_error, internal_error
from serving.response.protocol_documents import SERVER_LIVE, SERVER_READY, server_metadata
from serving.telemetry.metrics import Sample
from serving.types import Response
from serving.wire import CARD, JSON, METADATA, MODEL_NAME, PAGE, READY

# PUT is what `curl -T photo.jpg` sends; GET is for the viewer and the model card.
PREDICTION_METHODS = ("GET", "HEAD", "POST", "PUT")

PREDICTIONS = f"/predictions/{MODEL_NAME}"
V1 = f"/v1/models/{MODEL_NAME}"
V2 = f"/v2/models/{MODEL_NAME}"

# What TorchServe sends with every response: nothing between it and a client keeps a mask.
NEVER_CACHED = {
    "Pragma": "no-cache",
    "Cache-Control": "no-cache; no-store, must-revalidate, private",
    "Expires": "Thu, 01 Jan 1970 00:00:00 UTC",
}

# The response to GET /ping, spaced as TorchServe does.
HEALTHY = b'{\n  "status": "Healthy"\n}\n'

# Code and message for an address or a method that no route has.
ADDRESS_ERRORS = {
    404: ("not_found", f"There is nothing here. Photos go to {PREDICTIONS}."),
    405: (
        "method_not_allowed",
        f"Send photos to {PREDICTIONS} by POST or PUT; get pages and documents by GET.",
    ),
}

Endpoint = Callable[[Request], Awaitable[HttpResponse]]


def build_front(worker: Worker) -> Starlette:
    """The contract's addresses in front of a worker, which is closed with the application."""
    front = Front(worker)
    photos = {
        PREDICTIONS: front.predict,
        f"{PREDICTIONS}/{{path:path}}": front.predict,
        f"/models/{MODEL_NAME}/invoke": front.predict,
        "/invocations": front.predict,
        f"{V1}:predict": front.predict,
        f"{V2}/infer": front.predict,
        f"{V2}/versions/{{version}}/infer": front.predict,
    }
    documents = {
        "/": front.document(PAGE),
        "/model": front.document(CARD),
        "/ping": front.constant(HEALTHY),
        V1: front.document(READY),
        "/v2": front.constant(as_json(server_metadata())),
        "/v2/health/live": front.constant(as_json(SERVER_LIVE)),
        "/v2/health/ready": front.server_ready,
        V2: front.document(METADATA),
        f"{V2}/ready": front.document(READY),
        f"{V2}/versions/{{version}}": front.document(METADATA),
        f"{V2}/versions/{{version}}/ready": front.document(READY),
    }
    app = Starlette(
        routes=[
            *(Route(path, of, methods=PREDICTION_METHODS) for path, of in photos.items()),
            *(Route(path, of) for path, of in documents.items()),
        ],
        exception_handlers={
            RequestError: front.refuse,
            HTTPException: front.refuse_address,
            ClientDisconnect: front.give_up,
            Exception: front.fail,
        },
        lifespan=front.lifespan,
    )
    # It would send /model/ to wherever the client's Host header says.
    app.router.redirect_slashes = False
    return app


def as_json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document).encode("ascii")


class Front:
    """The endpoints. Each gets its response from the worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.version = worker.archive.version

    async def predict(self, request: Request) -> HttpResponse:
        output = output_in(request.path_params.get("path", ""), self.version)
        check_version(request.path_params.get("version", self.version), self.version)
        return self.send(await self.worker.respond(await prediction_request(request, output)))

    def document(self, name: str) -> Endpoint:
        """The endpoint of one of the service's documents, which waits in the queue like photos."""

        async def respond(request: Request) -> HttpResponse:
            check_version(request.path_params.get("version", self.version), self.version)
            return self.send(await self.worker.respond(document_request(request, name)))

        return respond

    async def server_ready(self, request: Request) -> HttpResponse:
        """Ready if a document gets through the queue."""
        response = await self.worker.respond(document_request(request, READY))
        if response.status != 200:
            return self.send(response)
        return self.send(Response(200, JSON, as_json(SERVER_READY)))

    def constant(self, body: bytes) -> Endpoint:
        async def respond(request: Request) -> HttpResponse:
            return self.send(Response(200, JSON, body))

        return respond

    async def refuse(self, request: Request, error: Exception) -> HttpResponse:
        assert isinstance(error, RequestError)
        response = client_error(error)
        return self.send(self.worker.immediate(response, request_headers(request)))

    async def refuse_address(self, request: Request, error: Exception) -> HttpResponse:
        assert isinstance(error, HTTPException)
        code, message = ADDRESS_ERRORS[error.status_code]
        response = await self.refuse(request, RequestError(error.status_code, code, message))
        response.headers.update(error.headers or {})  # Allow
        return response

    async def fail(self, request: Request, error: Exception) -> HttpResponse:
        """A fault of ours, which Starlette raises again for the log."""
        response = internal_error(request_id(request))
        return self.send(self.worker.immediate(response, request_headers(request)))

    async def give_up(self, request: Request, error: Exception) -> HttpResponse:
        return HttpResponse(status_code=400)  # the client has gone, and nobody gets it

    def send(self, response: Response) -> HttpResponse:
        """The response as Starlette sends it, counted."""
        family = f"Requests{response.status // 100}XX"
        self.worker.record([Sample(family, 1, ("Host", socket.gethostname()))])
        headers = {**response.headers, **NEVER_CACHED, "Content-Type": response.content_type}
        return HttpResponse(response.body, response.status, headers)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.worker.close()

"""TorchServe's adapter: its rows and context -> requests -> responses -> its context.

Everything that computes a response is in serving/runtime/service.py and knows no engine. This file
holds what is TorchServe's own: how it passes requests, how it takes responses, and what it cannot
send. Facts about TorchServe are those of version 0.12.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any  # for TorchServe's context, which has no types

from serving.errors import batch_too_large, response_too_large
from serving.runtime.device import pick_device, share_cores
from serving.runtime.malloc import limit_heap_growth
from serving.runtime.service import SegmentationService, load_service
from serving.telemetry.metrics import Sample, worker_start_samples
from serving.types import HttpRequest, Response
from serving.wire import QUERY_HEADER

logger = logging.getLogger(__name__)

# Bytes of a response. At most max_response_size in config.properties, which the worker is not told:
# a larger response ends the worker. The largest of an image is 200 MB, npy of 50 megapixels in more
# than 256 classes.
MAX_RESPONSE_BYTES = 1 << 30

# On each read of up to 64 kB from the worker's socket TorchServe parses and copies all complete
# responses of the batch again (ModelResponseDecoder.java): seven of 16 MB are 80 GB of copies, and
# `responseTimeout` comes first. The limit is some seconds of one core. It admits eight responses of
# 4 MB, three of 13 MB, two of 22 MB, and any single one.
READ_BYTES = 1 << 16
MAX_RECOPIED_BYTES = 8 << 30


# Seconds after which TorchServe replaces a worker without a response, unless it is configured.
RESPONSE_TIMEOUT = 120


class SegmentationHandler:
    """TorchServe creates one per worker and calls `handle` with one batch at a time."""

    service: SegmentationService

    def initialize(self, context: Any) -> None:
        """Load the archive in `context.system_properties["model_dir"]`, ready for a first batch.

        Raises where it cannot; TorchServe then reports the worker as failed.
        """
        # Otherwise TorchServe parses JSON bodies before any limit is checked, and makes 1 GB of
        # 48 MB of "[],[],[]".
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"
        limit_heap_growth()  # before CUDA and the threads of other libraries start
        write_samples(worker_start_samples(), context.metrics)
        config = context.model_yaml_config or {}
        properties = context.system_properties
        self.service = load_service(
            Path(properties["model_dir"]),
            context.manifest["model"]["modelVersion"],
            pick_device(properties.get("gpu_id")),
            precision=config.get("precision", "auto"),
            threads=share_cores(workers=config.get("minWorkers", 1)),
            batch_size=properties["batch_size"],
            max_seconds=config.get("responseTimeout", RESPONSE_TIMEOUT) / 2,
            response_limit=limit_responses,
        )

    def handle(self, rows: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """The response bodies of a batch, in its order; status and headers are set on `context`."""
        if is_describe(rows, context):
            return [set_response(self.service.describe(), context, 0)]
        requests = [http_request(row, context, index) for index, row in enumerate(rows)]
        result = self.service.respond(requests)
        write_samples(result.samples, context.metrics)
        return [
            set_response(response, context, index)
            for index, response in enumerate(result.responses)
        ]


def http_request(row: Mapping[str, Any], context: Any, index: int) -> HttpRequest:
    """Item `index` of a batch; `row` maps its parts and query parameters to their bytes."""
    headers = headers_of(context, index)
    path_suffix = headers.pop("url_path", "")
    # TorchServe drops the query of most paths; a gateway in front of it sends it along.
    query = headers.get(QUERY_HEADER.lower(), "")
    return HttpRequest(context.get_request_id(index), headers, row, path_suffix, query)


def headers_of(context: Any, index: int) -> dict[str, str]:
    """The headers of the batch's item `index`, under lower-case names.

    TorchServe keeps the client's spelling, and puts the parts' own headers among them as dicts,
    which are left out. It spells its own headers in lower case, so they win a clash.

    Netty adds `content-length: 0` to a request that declares no body, as a GET does. It is left
    out again if the client spells its own headers in another way.
    """
    received = context.get_all_request_header(index)
    headers = {
        name.lower(): received[name]
        for name in sorted(received)  # capitals sort before lower case
        if isinstance(received[name], str)
    }
    if received.get("content-length") == "0" and "Host" in received:
        del headers["content-length"]
    return headers


def is_describe(rows: Sequence[Mapping[str, Any]], context: Any) -> bool:
    """Whether this is the management API's `GET /models/{name}?customized=true`.

    TorchServe passes that request alone, without any part. A client can send the header, and an
    empty form has no part either, but such a request shares its batch with others.
    """
    is_alone = len(rows) == 1 and not rows[0]
    return is_alone and headers_of(context, 0).get("describe", "").lower() == "true"


def set_response(response: Response, context: Any, index: int) -> bytes:
    """Set status and headers of the batch's item `index` on the context; return its body.

    It is TorchServe's only way to respond with an error to a single request of a batch. It sends
    UTF-8 but counts characters: one beyond ASCII in a header shifts all that follows on the
    worker's socket, and a line break there ends the worker. Responses hold none.
    """
    context.set_response_status(response.status, HTTPStatus(response.status).phrase, index)
    context.set_response_content_type(index, response.content_type)
    for name, value in response.headers.items():
        context.set_response_header(index, name, value)
    return response.body


def limit_responses(
    responses: Sequence[Response], max_bytes: int = MAX_RESPONSE_BYTES
) -> list[Response]:
    """The responses of a batch, in its order; an error in place of each that cannot be sent.

    413 where it is too large by itself, 503 where it is too large after those before it: alone it
    can be sent, and the client is told to retry.
    """
    sendable: list[Response] = []
    bytes_before = 0
    recopied = 0
    for response in responses:
        size = len(response.body)
        if size > max_bytes:
            response = response_too_large(size, max_bytes)
        elif recopied + bytes_before * size // READ_BYTES > MAX_RECOPIED_BYTES:
            response = batch_too_large()
        recopied += bytes_before * len(response.body) // READ_BYTES
        bytes_before += len(response.body)
        sendable.append(response)
    return sendable


def write_samples(samples: Iterable[Sample], metrics: Any) -> None:
    """Record the samples that metrics.yaml declares with `metrics`, `context.metrics` or None.

    TorchServe's own look-up takes a type from the package ts, which an archive does not import.
    Metrics that cannot be written cost no response.
    """
    by_type: Mapping[object, Mapping[str, Any]] = getattr(metrics, "cache", {})
    declared = {name: metric for group in by_type.values() for name, metric in group.items()}
    try:
        for name, value, labels in samples:
            if name in declared:
                declared[name].add_or_update(value, list(labels))
    except Exception:
        logger.exception("metrics of a batch could not be written")

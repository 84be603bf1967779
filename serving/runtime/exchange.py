"""One request on its way through a batch, with the product of every stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from imaging.errors import ImageError
from model.optimize.cuda_errors import is_out_of_memory
from serving.errors import RequestError, client_error, internal_error, out_of_memory
from serving.runtime.stages import Photo
from serving.types import HttpRequest, Response, Segmentation, SegmentationRequest

logger = logging.getLogger(__name__)


@dataclass
class Exchange:
    """A request and what the stages have made of it; with a response, later stages skip it.

    A field without a value is set by its stage. Reading it earlier is a mistake (AttributeError).
    """

    received: HttpRequest
    request: SegmentationRequest = field(init=False)
    photo: Photo = field(init=False)
    logits: Tensor = field(init=False)  # (1, num_classes, h, w) on the network's device
    segmentation: Segmentation = field(init=False)
    response: Response | None = None
    protocol: str | None = None  # whose form an error has, by its output format's name
    output: str | None = None  # the requested format, once the request has been read
    milliseconds: dict[str, float] = field(default_factory=dict)  # by stage, in their order

    def run(self, name: str, stage: Callable[[Exchange], None]) -> None:
        """Take the request through a stage, unless it has its response. Never raises."""
        if self.response is not None:
            return
        started = time.perf_counter()
        try:
            stage(self)
        except Exception as error:
            self.fail(name, error)
        finally:
            self.add_time(name, time.perf_counter() - started)

    def fail(self, stage: str, error: Exception) -> None:
        """Respond with the error that the exception amounts to."""
        self.response = error_response(error, stage, self.received.id)

    def add_time(self, stage: str, seconds: float) -> None:
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + seconds * 1e3

    def server_timing(self) -> str:
        """The times as a Server-Timing header (https://www.w3.org/TR/server-timing/), in ms."""
        return ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in self.milliseconds.items())


def error_response(error: Exception, stage: str, request_id: str) -> Response:
    """4xx for the client's fault, 503 where memory was short, 500 for ours."""
    try:
        if isinstance(error, (ImageError, RequestError)):
            return client_error(error)
        if is_out_of_memory(error):
            logger.warning("request %s: out of memory in stage %s", request_id, stage)
            return out_of_memory()
    except Exception as second:  # details that are not JSON, say: no request fails its neighbours
        error = second
    # The text stays in the log: it may hold paths, shapes, or what other clients sent.
    logger.error("request %s failed in stage %s", request_id, stage, exc_info=error)
    return internal_error(request_id)

"""A request and its images on their way through a batch, with the product of every stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from torch import Tensor

from imaging.errors import ImageError, ImageTooLarge
from model.optimize.cuda_errors import is_out_of_memory
from serving.errors import (
    RequestError,
    batch_too_slow,
    client_error,
    internal_error,
    out_of_memory,
)
from serving.response.combine import ImageResponse
from serving.runtime.stages import Photo
from serving.types import (
    ErrorResponse,
    HttpRequest,
    ImageFile,
    Response,
    Segmentation,
    SegmentationRequest,
)

logger = logging.getLogger(__name__)

# What a limit's message adds where the image is one of a list.
SHARED_LIMITS: Final = " The images of one request share the limits: send fewer at a time."


@dataclass
class Exchange:
    """A request, its images, and its response; with that, later stages skip it.

    A field without a value is set by its stage. Reading it earlier is a mistake (AttributeError).
    """

    received: HttpRequest
    request: SegmentationRequest = field(init=False)
    images: list[ImageExchange] = field(default_factory=list)  # until the response is complete
    errors: list[ErrorResponse | None] = field(default_factory=list)  # then, of each image
    response: Response | None = None
    protocol: str | None = None  # whose form an error has, by its output format's name
    milliseconds: dict[str, float] = field(default_factory=dict)  # by stage, in their order

    def run(self, name: str, stage: Callable[[Exchange], None]) -> None:
        """Take the request through a stage, unless it has its response. Never raises."""
        if self.response is not None:
            return
        started = time.perf_counter()
        try:
            stage(self)
        except Exception as error:
            self.response = error_response(error, name, self.received.id)
        finally:
            self.add_time(name, time.perf_counter() - started)

    def add_time(self, stage: str, seconds: float) -> None:
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + seconds * 1e3

    def server_timing(self) -> str:
        """The times as a Server-Timing header (https://www.w3.org/TR/server-timing/), in ms."""
        return ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in self.milliseconds.items())


@dataclass
class ImageExchange:
    """One image of a request; with a response to it, or an error, later stages skip it."""

    exchange: Exchange
    file: ImageFile
    photo: Photo = field(init=False)
    logits: Tensor = field(init=False)  # (1, num_classes, h, w) on the network's device
    segmentation: Segmentation = field(init=False)
    response: ImageResponse | None = None

    @property
    def request(self) -> SegmentationRequest:
        return self.exchange.request

    def run(self, name: str, stage: Callable[[ImageExchange], None]) -> float:
        """Take the image through a stage, unless it has its response; the seconds that it took.

        Never raises.
        """
        if self.response is not None:
            return 0.0
        started = time.perf_counter()
        try:
            stage(self)
        except Exception as error:
            self.fail(name, error)
        return time.perf_counter() - started

    def fail(self, stage: str, error: Exception) -> None:
        """Respond with the error that the exception amounts to."""
        if self.request.is_list:
            error = naming_shared_limits(error)
        response = error_response(error, stage, self.exchange.received.id)
        self.response = ImageResponse(self.file.name, error=response)


def naming_shared_limits(error: Exception) -> Exception:
    """The error of an image in a list: one of size says that the images share the limits."""
    if isinstance(error, ImageTooLarge):
        return ImageTooLarge(error.code, error.message + SHARED_LIMITS, **error.details)
    if isinstance(error, RequestError) and error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        message = error.message + SHARED_LIMITS
        return RequestError(error.status, error.code, message, **error.details)
    return error


class BatchTooSlow(Exception):
    """The images before this one have used up the batch's time."""


def error_response(error: Exception, stage: str, request_id: str) -> ErrorResponse:
    """4xx for the client's fault, 503 where memory or time was short, 500 for ours."""
    try:
        if isinstance(error, (ImageError, RequestError)):
            return client_error(error)
        if isinstance(error, BatchTooSlow):
            logger.warning("request %s: the batch's time was up at stage %s", request_id, stage)
            return batch_too_slow()
        if is_out_of_memory(error):
            logger.warning("request %s: out of memory in stage %s", request_id, stage)
            return out_of_memory()
    except Exception as second:  # details that are not JSON, say: no request fails its neighbours
        error = second
    # The text stays in the log: it may hold paths, shapes, or what other clients sent.
    logger.error("request %s failed in stage %s", request_id, stage, exc_info=error)
    return internal_error(request_id)

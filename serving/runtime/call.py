"""One request on its way through a batch, so that what fails there fails alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from imaging.errors import ImageError
from serving.errors import RequestError, error_answer, internal_error_answer, overloaded_answer
from serving.response.answer import Answer
from serving.runtime.device import is_out_of_memory

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """What TorchServe handed over for one request, and where its time went.

    `row` is the request's entry in TorchServe's batch, `headers` its headers under lower-case
    names, `milliseconds` the time each step took, in the order of the steps.
    """

    row: Mapping[str, object]
    headers: Mapping[str, str]
    request_id: str
    milliseconds: dict[str, float] = field(default_factory=dict)

    def attempt(self, step: str, function: Callable[..., T], *inputs: object) -> T | Answer:
        """`function(*inputs)`, or the answer that the request gets because that failed.

        A request that has its answer keeps it: if an input is an Answer already, nothing is run.
        """
        for value in inputs:
            if isinstance(value, Answer):
                return value
        started = time.perf_counter()
        try:
            try:
                return function(*inputs)
            except (ImageError, RequestError) as error:
                return error_answer(error)
        except Exception as error:  # in telling of an error, too
            if is_out_of_memory(error):
                logger.warning("request %s: no memory in %s", self.request_id, step)
                return overloaded_answer()
            # The text stays in the log: it may hold paths, shapes, or what others sent.
            logger.exception("request %s failed in %s", self.request_id, step)
            return internal_error_answer(self.request_id)
        finally:
            self.took(step, time.perf_counter() - started)

    def took(self, step: str, seconds: float) -> None:
        """Add the time to a step's account."""
        self.milliseconds[step] = self.milliseconds.get(step, 0.0) + seconds * 1e3

    def server_timing(self) -> str:
        """The account as a Server-Timing header (https://www.w3.org/TR/server-timing/), in ms."""
        return ", ".join(f"{step};dur={ms:.1f}" for step, ms in self.milliseconds.items())

"""One model behind one queue: requests in, responses out, a batch at a time."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

import torch

from cluster.archive import UnpackedArchive
from cluster.batcher import Batcher, QueueFull
from serving.errors import internal_error, queue_full
from serving.runtime.golden import check_golden
from serving.runtime.service import load_service
from serving.telemetry.metrics import Sample, worker_start_samples
from serving.types import HttpRequest, Response

logger = logging.getLogger(__name__)

# Requests that wait while a batch is computed, as job_queue_size in config.properties: with bodies
# of 48 MiB they take 1.5 GiB.
MAX_WAITING = 32

Record = Callable[[Iterable[Sample]], None]


@dataclass(frozen=True)
class Arrival:
    """A request, and when it came (s, of the monotonic clock)."""

    request: HttpRequest
    time: float


class Worker:
    """The archive's service, loaded, checked, and ready for a first request.

    `threads` is the number of images that are decoded or encoded at a time; `record` takes the
    samples of metrics, in any thread. Raises serving.runtime.loading.ArchiveError.
    """

    def __init__(
        self, archive: UnpackedArchive, device: torch.device, threads: int, record: Record
    ) -> None:
        record(worker_start_samples())
        self.archive = archive
        self.record = record
        self.service = load_service(
            archive.folder,
            archive.version,
            device,
            precision=archive.precision,
            threads=threads,
            batch_size=archive.batch_size,
            max_seconds=archive.response_seconds / 2,
        )
        self.batcher: Batcher[Arrival, Response] = Batcher(
            self.compute,
            size=archive.batch_size,
            window=archive.batch_seconds,
            capacity=MAX_WAITING,
        )

    async def respond(self, request: HttpRequest) -> Response:
        """The response, from the batch that the request gets into. Never raises for a request."""
        try:
            return await self.batcher(Arrival(request, monotonic()))
        except QueueFull:
            return self.immediate(queue_full(), request.headers)
        except Exception:
            logger.exception("the batch with request %s failed", request.id)
            return self.immediate(internal_error(request.id), request.headers)

    def immediate(self, response: Response, headers: Mapping[str, str]) -> Response:
        """A response that needs no batch, signed; `headers` are its request's."""
        return self.service.immediate(response, headers)

    def compute(self, arrivals: Sequence[Arrival]) -> list[Response]:
        waited = [monotonic() - arrival.time for arrival in arrivals]
        result = self.service.respond([arrival.request for arrival in arrivals])
        self.record([*result.samples, *queue_samples(waited, self.archive.version)])
        return result.responses

    async def check(self) -> None:
        """Raises ArchiveError where the model no longer reproduces the golden image."""
        await self.batcher.between_batches(
            lambda: check_golden(self.service.model, self.archive.folder)
        )

    async def close(self) -> None:
        await self.batcher.close()
        self.service.close()


def queue_samples(waited: Sequence[float], version: str) -> list[Sample]:
    """TorchServe's own metrics of its queue, which the dashboard and the alerts read.

    `waited` is in seconds, one for each request of a batch.
    """
    labels = ("segmenter", version, socket.gethostname())
    return [
        Sample("ts_inference_requests_total", len(waited), labels),
        Sample("ts_queue_latency_microseconds", 1e6 * sum(waited), labels),
    ]

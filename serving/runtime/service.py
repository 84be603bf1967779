"""The segmentation service without an engine: batches of requests in, batches of responses out.

    bytes -> photo -> logits -> segmentation -> response

An engine (handler.py for TorchServe) translates what it receives into HttpRequests, and the
responses into what it sends. A request that fails at any stage gets its own error response; the
others of its batch go on.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from http import HTTPStatus
from itertools import zip_longest
from pathlib import Path
from time import monotonic, perf_counter

import torch
from torch import Tensor

from imaging import Limits, fit_size
from imaging.decode.allowance import Allowance
from imaging.decode.budget import PixelBudget
from imaging.mask.class_mask import triton_works
from model.optimize.cuda_graphs import graph_counters, warm_up
from model.optimize.precision import fast_precision
from serving.errors import RequestError, in_form_of, internal_error
from serving.formats import check_response_size, needs_confidence, needs_original
from serving.label_map import void_id
from serving.request.body import declared_protocol, read_body
from serving.request.parse import parse_body
from serving.response.combine import ImageResponse, combine, encode_outputs
from serving.response.encoder_input import EncoderInput
from serving.response.model_card import model_card
from serving.response.protocol_documents import model_metadata, model_ready
from serving.response.viewer import viewer_response
from serving.runtime.device import exit_if_lost, largest_group
from serving.runtime.exchange import BatchTooSlow, Exchange, ImageExchange
from serving.runtime.golden import NotReproduced, check_golden
from serving.runtime.loading import ServedModel, load_model
from serving.runtime.malloc import TRIM_SECONDS, trim_memory
from serving.runtime.stages import forward, group_by_shape, read_photo, segment, select
from serving.telemetry.metrics import BatchStats, Sample
from serving.telemetry.reporter import Reporter
from serving.types import DocumentRequest, HttpRequest, ModelInfo, Response
from serving.wire import CARD, METADATA, PAGE, READY, header_safe

logger = logging.getLogger(__name__)

# Pixels decoded, or drawn and encoded, at the same time: two of the largest images, eight of a
# phone's 12 megapixels. Eight progressive JPEGs of 50 megapixels then take 0.8 GB instead of 2.3;
# the worst kind (float TIFF) takes 20 bytes for each pixel, 2 GB in all.
MAX_PIXELS_IN_FLIGHT = 100_000_000

# Width and height of most photos: phones, cameras, videos, squares. On a GPU their CUDA graphs are
# captured when a worker starts, those of any other shape when it comes a second time.
COMMON_ASPECT_RATIOS = ((4, 3), (3, 4), (3, 2), (2, 3), (16, 9), (9, 16), (1, 1))

# Seconds of a batch after which only the first image of each request still goes into the network.
# Eight requests of 32 tiny images would hold the service for minutes, at 0.7 s an image on two
# cores. So a batch takes some 18 s at 1 s an image, and a request behind a full queue (four batches
# and the one that runs) has its response within the 130 s that gateways wait.
LIST_SECONDS = 10.0

# The output of a request for several formats, in the metrics.
ARCHIVE = "zip"

# What an engine cannot send of a batch: it replaces those responses by errors.
ResponseLimit = Callable[[Sequence[Response]], "list[Response]"]


@dataclass(frozen=True)
class BatchResult:
    """The responses to a batch, in its order, and the metrics to record."""

    responses: list[Response]
    samples: list[Sample]


def load_service(
    folder: Path,
    version: str,
    device: torch.device,
    *,
    precision: str = "auto",
    threads: int = 1,
    batch_size: int = 8,
    max_seconds: float = 60.0,
    response_limit: ResponseLimit = list,
) -> SegmentationService:
    """Load an unpacked archive, ready for a first request.

    `version` is the archive's, `precision` as of model.optimize_for_inference, `threads` the number
    of images that are decoded or encoded at a time, `batch_size` that of images that go through the
    network at once. After `max_seconds` of a batch no image goes into the network any more, after
    LIST_SECONDS only the first of each request: those left get 503. Raises ArchiveError where the
    archive is damaged or its model does not reproduce the golden image.
    """
    model, off = load_checked(folder, device, precision)
    logger.info(
        "the golden image's logits are off by %.2f %% in %s: in service", 100 * off, model.precision
    )
    return SegmentationService(
        model,
        version,
        threads,
        group_size=largest_group(device, batch_size),
        max_seconds=max_seconds,
        response_limit=response_limit,
    )


def load_checked(folder: Path, device: torch.device, precision: str) -> tuple[ServedModel, float]:
    """The model, warmed up, and by how much the golden image's logits are off.

    Where "auto" is int8, and that does not reproduce the golden image, it is the fastest of the
    other precisions instead. Raises ArchiveError as load_service.
    """
    model = load_model(folder, device, precision)
    if device.type == "cuda":
        triton_works(device)  # compiles here, not in the threads of the first requests
    warm_up(model.net, common_input_sizes(model.preset.short_side))
    try:
        return model, check_golden(model, folder)
    except NotReproduced as error:
        if precision != "auto" or model.precision != "int8":
            raise
        fallback = fast_precision(device)
        logger.warning("the network runs in %s instead of int8: %s", fallback, error)
    del model  # before another is loaded
    return load_checked(folder, device, fallback)


def images_of(exchanges: Sequence[Exchange]) -> list[ImageExchange]:
    return [image for exchange in exchanges for image in exchange.images]


def statuses_of_images(exchange: Exchange, response: Response) -> list[tuple[str | None, int]]:
    """Output format and status of each image of a request; no output if it could not be read.

    Several formats are one output, the archive. Documents are no images.
    """
    if not exchange.errors:
        return [] if response.status == HTTPStatus.OK else [(None, response.status)]
    outputs = exchange.request.outputs
    output = outputs[0] if len(outputs) == 1 else ARCHIVE
    return [
        (output, response.status if error is None else error.status) for error in exchange.errors
    ]


def common_input_sizes(short_side: int) -> list[tuple[int, int]]:
    """(H, W) at which the network reads photos of the usual aspect ratios, in pixels."""
    return [fit_size(width, height, short_side) for width, height in COMMON_ASPECT_RATIOS]


class SegmentationService:
    """A loaded model that responds to one batch of requests at a time."""

    def __init__(
        self,
        model: ServedModel,
        version: str,
        threads: int,
        *,
        group_size: int,
        max_seconds: float,
        response_limit: ResponseLimit,
    ) -> None:
        self.model = model
        self.info = ModelInfo(model.preset.name, version, model.digest, model.precision)
        self.limits = Limits()
        self.budget = PixelBudget(MAX_PIXELS_IN_FLIGHT)
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="image")
        self.group_size = group_size  # images that go through the network at once
        self.max_seconds = max_seconds  # of a batch
        self.response_limit = response_limit
        self.reporter = Reporter(model.preset.labels)
        self.counted_graph_events = Counter[str]()
        self.trimmed = monotonic()
        self.documents: dict[str, Response] = {
            PAGE: viewer_response(model.preset),
            CARD: Response.json(model_card(model.preset, self.info, self.limits)),
            METADATA: Response.json(model_metadata(model.preset, self.info)),
            READY: Response.json(model_ready()),
        }

    def respond(self, requests: Sequence[HttpRequest]) -> BatchResult:
        """Take a batch through all stages. Never raises for what a client sent."""
        exchanges = [Exchange(request) for request in requests]
        started = monotonic()
        stats = BatchStats(len(exchanges), exchanges[0].received.id)
        with stats.stage("decode"):
            list(self.threads.map(lambda exchange: exchange.run("decode", self.read), exchanges))
        with stats.stage("forward"):
            self.forward(exchanges, stats, started)
        logits = next(
            (image.logits for image in images_of(exchanges) if image.response is None), None
        )
        stats.graph_events = self.graph_events()
        with stats.stage("mask"):
            self.run("mask", self.mask, exchanges)
            exit_if_lost(self.model.device)
        with stats.stage("encode"):
            self.run("encode", self.encode, exchanges)
            list(self.threads.map(lambda exchange: exchange.run("encode", self.combine), exchanges))
            responses = self.response_limit(
                [e.response or internal_error(e.received.id) for e in exchanges]
            )
        for exchange, response in zip(exchanges, responses):
            exchange.add_time("batch", sum(stats.seconds.values()))  # waiting for the others, too
            for output, status in statuses_of_images(exchange, response):
                stats.count_response(output, status)
        samples = self.reporter.samples(stats, logits)
        self.trim()
        return BatchResult(list(map(self.sign, responses, exchanges)), samples)

    def describe(self) -> Response:
        """The model card, for an engine that has a request of its own for it."""
        return self.immediate(self.documents[CARD], {})

    def immediate(self, response: Response, headers: Mapping[str, str]) -> Response:
        """A response that needs no batch, signed; an error in the form that its request asks for.

        `headers` are the request's, with names in lower case. May be called from any thread.
        """
        protocol = declared_protocol(headers)
        exchange = Exchange(HttpRequest("", headers, {}), response=response, protocol=protocol)
        exchange.add_time("batch", 0.0)
        return self.sign(response, exchange)

    def read(self, exchange: Exchange) -> None:
        """Parse a request and decode its images, one after the other: they share the limits."""
        preset = self.model.preset
        exchange.protocol = declared_protocol(exchange.received.headers)
        body = read_body(exchange.received)
        exchange.protocol = body.protocol or exchange.protocol
        request = parse_body(body, exchange.received, preset.labels)
        if isinstance(request, DocumentRequest):
            exchange.response = self.documents[request.name]
            return
        exchange.request = request
        exchange.images = [ImageExchange(exchange, file) for file in request.images]
        allowance = Allowance(self.limits)
        for image in exchange.images:
            image.run("decode", partial(self.decode, allowance=allowance))

    def decode(self, image: ImageExchange, allowance: Allowance) -> None:
        request, data = image.request, image.file.data
        if isinstance(data, RequestError):
            raise data
        short_side, keep_original = self.model.preset.short_side, needs_original(request)
        num_bytes = len(data) if isinstance(data, bytes) else data.nbytes
        with allowance.spend(num_bytes) as limits:
            image.photo = read_photo(data, short_side, limits, self.budget, keep_original)
        allowance.spend_pixels(math.prod(image.photo.size))
        check_response_size(request, allowance.pixels)

    def run(
        self, name: str, stage: Callable[[ImageExchange], None], exchanges: Sequence[Exchange]
    ) -> None:
        """Run a stage for all images in threads: Pillow and PyTorch release the GIL.

        On two cores the masks of four photos take 1.06 to 1.38 times less than one after the other
        (0.3 to 12 megapixels), with confidence 1.2 to 1.6 times less.
        """
        images = images_of(exchanges)
        seconds = self.threads.map(lambda image: image.run(name, stage), images)
        for image, taken in zip(images, seconds):
            if taken:
                image.exchange.add_time(name, taken)

    def forward(self, exchanges: Sequence[Exchange], stats: BatchStats, started: float) -> None:
        """One pass through the network for all photos of a shape, in groups of bounded size.

        The passes that have a request's first photo go before all others; second ones of its shape
        fill them up. A photo whose time is up, counted from `started`, fails instead: so a long
        list does not use up the time of single photos.
        """
        turns = zip_longest(*(exchange.images for exchange in exchanges))
        waiting = [image for turn in turns for image in turn if image and image.response is None]
        shapes = [image.photo.pixels.shape for image in waiting]
        stats.shapes = len(set(shapes))
        for indices in sorted(group_by_shape(shapes, self.group_size)):
            group = [waiting[index] for index in indices]
            self.fail_late(group, monotonic() - started)
            in_time = [image for image in group if image.response is None]
            pass_began = perf_counter()
            outcomes = self.logits_of(in_time, stats) if in_time else []
            seconds = perf_counter() - pass_began
            for exchange in {id(image.exchange): image.exchange for image in group}.values():
                exchange.add_time("forward", seconds)
            for image, outcome in zip(in_time, outcomes):
                if isinstance(outcome, Exception):
                    image.fail("forward", outcome)
                else:
                    image.logits = outcome

    def fail_late(self, group: Sequence[ImageExchange], seconds: float) -> None:
        """Fail the images that may not go into the network after these seconds of a batch."""
        for image in group:
            is_first = image is image.exchange.images[0]
            if seconds > self.max_seconds or (seconds > LIST_SECONDS and not is_first):
                image.fail("forward", BatchTooSlow())

    def logits_of(
        self, group: Sequence[ImageExchange], stats: BatchStats
    ) -> list[Tensor | Exception]:
        pixels = [image.photo.pixels for image in group]
        outcomes = forward(self.model.net, pixels, self.model.device, stats.count_retry)
        exit_if_lost(self.model.device)
        return outcomes

    def mask(self, image: ImageExchange) -> None:
        photo, request = image.photo, image.request
        with self.budget.spend(math.prod(photo.size)):
            whole = segment(photo, image.logits, needs_confidence(request))
            void = void_id(self.model.preset.labels)
            image.segmentation = select(whole, request.options, void, photo.valid)

    def encode(self, image: ImageExchange) -> None:
        request, name = image.request, image.file.name
        content = EncoderInput(
            image.segmentation, self.model.preset, self.info, name, request.tensors
        )
        with self.budget.spend(image.segmentation.mask.size):
            encoded = encode_outputs(request, content)
        image.response = ImageResponse(name, content, encoded)

    def combine(self, exchange: Exchange) -> None:
        images = [image.response for image in exchange.images if image.response is not None]
        exchange.errors = [image.error for image in images]
        exchange.response = combine(exchange.request, images)
        exchange.images.clear()  # photos, masks and files: not while other responses are made

    def sign(self, response: Response, exchange: Exchange) -> Response:
        """Add to a response which model made it, and where the time went.

        An error gets the form of the request's protocol.
        """
        response = in_form_of(exchange.protocol, response)
        signature = {**self.info.headers(), "Server-Timing": exchange.server_timing()}
        headers = {**response.headers, **signature}
        return replace(
            response,
            content_type=header_safe(response.content_type),
            headers={name: header_safe(value) for name, value in headers.items()},
        )

    def graph_events(self) -> Counter[str]:
        """What happened to the network's CUDA graphs since the last batch; nothing on a CPU."""
        counters = graph_counters(self.model.net)
        total = Counter(asdict(counters)) if counters is not None else Counter[str]()
        new = total - self.counted_graph_events
        self.counted_graph_events = total
        return new

    def trim(self) -> None:
        """Return free memory to the system from time to time, while responses are being sent."""
        if monotonic() > self.trimmed + TRIM_SECONDS:
            self.trimmed = monotonic()
            self.threads.submit(trim_memory)

    def close(self) -> None:
        self.threads.shutdown()

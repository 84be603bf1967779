"""TorchServe's entry into the archive: photos in, class masks out.

    bytes -> decode -> group by shape -> forward -> mask -> encode -> bytes

A request that fails at any step gets its own answer; the others of its batch go on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from imaging import Limits
from imaging.decode.budget import PixelBudget
from imaging.mask.class_mask import triton_works
from serving.formats import check_size, encode, needs_confidence, needs_original
from serving.label_map import void_id
from serving.model_info import ModelInfo
from serving.request.parse import headers_of, is_describe, read_request
from serving.response.answer import Answer, json_answer, send
from serving.response.model_card import model_card
from serving.response.sending import sendable
from serving.response.viewer import page_answer
from serving.runtime.call import Call
from serving.runtime.device import exit_if_lost, largest_group, pick_device, share_cores
from serving.runtime.golden import check_golden
from serving.runtime.loading import load_model
from serving.runtime.malloc import TRIM_SECONDS, keep_little_memory, trim_memory
from serving.runtime.pipeline import (
    Photo,
    Segmentation,
    forward,
    group_by_shape,
    read_photo,
    segment,
    select,
)
from serving.telemetry.metrics import Batch, starting, write
from serving.telemetry.reporter import Reporter
from serving.types import Request

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Pixels decoded, or drawn and encoded, at the same time: two of the largest images, eight of a
# phone's 12 megapixels. Eight progressive JPEGs of 50 megapixels so take 0.8 GB instead of 2.3; the
# worst kind (float TIFF) takes 20 bytes for each pixel, 2 GB in all.
PIXELS_AT_ONCE = 100_000_000


class SegmentationHandler:
    """Answers TorchServe's batches: one object a worker, one batch at a time."""

    def initialize(self, context: Any) -> None:
        """Load the archive in `context.system_properties["model_dir"]`, ready for a first answer.

        Raises where it cannot; TorchServe then reports the worker as failed.
        """
        # TorchServe asks for every body. It would parse JSON before any limit is checked, and make
        # 1 GB of 48 MB of "[],[],[]".
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"
        write(starting(), context.metrics)
        keep_little_memory()
        folder = Path(context.system_properties["model_dir"])
        config = context.model_yaml_config or {}
        self.device = pick_device(context.system_properties.get("gpu_id"))
        threads = share_cores(workers=config.get("minWorkers", 1))
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="image")
        self.trimmed = time.monotonic()
        self.limits = Limits()
        self.budget = PixelBudget(PIXELS_AT_ONCE)
        self.model = load_model(folder, self.device, config.get("precision", "auto"))
        self.preset = self.model.preset
        self.reporter = Reporter(self.preset.labels)
        version = context.manifest["model"]["modelVersion"]
        self.info = ModelInfo(self.preset.name, version, self.model.digest)
        self.card = json_answer(model_card(self.preset, self.info, self.limits))
        self.page = page_answer(self.preset)
        if self.device.type == "cuda":
            triton_works(self.device)  # compiles here, not in the first requests' threads
        off = check_golden(self.model.net, self.preset, self.device, folder)
        logger.info("the golden image's logits are off by %.2f %%: in service", 100 * off)

    def handle(self, rows: Sequence[Mapping[str, object]], context: Any) -> list[bytes]:
        """The bodies of the answers to a batch, in its order; the rest is set on `context`."""
        calls = [
            Call(row, headers_of(context, index), context.get_request_id(index))
            for index, row in enumerate(rows)
        ]
        batch = Batch(len(calls), calls[0].request_id)
        # At every step a value may be an Answer instead: then that call is settled, and passed on.
        with batch.stage("decode"):
            requests = [call.attempt("decode", self.read, call) for call in calls]
            photos = self.each("decode", self.photo, calls, requests)
        with batch.stage("forward"):
            logits = self.forward(calls, photos, batch)
        with batch.stage("mask"):
            masks = self.each("mask", self.segmentation, calls, requests, photos, logits)
        with batch.stage("encode"):
            answers = sendable(self.each("encode", self.answer, calls, requests, masks))
        for call in calls:
            call.took("batch", sum(batch.seconds.values()))  # in which it waited for the others
        for request, answer in zip(requests, answers):
            if isinstance(request, Request) or answer.status != HTTPStatus.OK:  # else no image
                batch.answered(getattr(request, "output", None), answer.status)
        self.reporter.report(batch, logits, context.metrics)
        if time.monotonic() > self.trimmed + TRIM_SECONDS:
            self.trimmed = time.monotonic()
            self.threads.submit(trim_memory)  # while the answers are on their way
        return [
            send(self.sign(answer, call), context, index)
            for index, (call, answer) in enumerate(zip(calls, answers))
        ]

    def read(self, call: Call) -> Request | Answer:
        """What the caller asks for, or the answer where that takes no photo."""
        if is_describe(call.row, call.headers):
            return self.card
        request = read_request(call.row, call.headers, self.preset.labels)
        return self.page if request.image is None else request

    def each(
        self, name: str, step: Callable[..., T], calls: Sequence[Call], *inputs: Sequence[object]
    ) -> list[T | Answer]:
        """A step for every call, in threads: Pillow and PyTorch let go of the interpreter's lock.

        The masks of four photos are made 1.06 to 1.38 times as fast on two cores as in a row (0.3
        to 12 megapixels), with confidence 1.2 to 1.6 times.
        """

        def attempt(call: Call, *values: object) -> T | Answer:
            return call.attempt(name, step, *values)

        return list(self.threads.map(attempt, calls, *inputs))

    def photo(self, request: Request) -> Photo:
        assert request.image is not None
        keep_original = needs_original(request)
        photo = read_photo(request.image, self.preset, self.limits, keep_original, self.budget)
        check_size(request, photo.size)
        return photo

    def forward(
        self, calls: Sequence[Call], photos: Sequence[Photo | Answer], tally: Batch
    ) -> list[Tensor | Answer]:
        """Each photo's logits (1, num_classes, h, w), from one forward for all of a shape."""
        pixels = {
            index: item.pixels for index, item in enumerate(photos) if isinstance(item, Photo)
        }
        results: list[Any] = list(photos)
        tally.shapes = len({tensor.shape for tensor in pixels.values()})
        for group in group_by_shape(pixels, largest_group(self.device)):
            started = time.perf_counter()
            images = [pixels[index] for index in group]
            outcomes = forward(self.model.net, images, self.preset, self.device, tally.retried)
            exit_if_lost(self.device)
            seconds = time.perf_counter() - started
            for index, outcome in zip(group, outcomes):
                results[index] = calls[index].attempt("forward", logits_or_raise, outcome)
                calls[index].took("forward", seconds)
        return results

    def segmentation(self, request: Request, photo: Photo, logits: Tensor) -> Segmentation:
        height, width = photo.size
        with self.budget.spend(height * width):
            whole = segment(photo, logits, needs_confidence(request))
            return select(whole, request.options, void_id(self.preset.labels))

    def answer(self, request: Request, segmentation: Segmentation) -> Answer:
        with self.budget.spend(segmentation.mask.size):
            return encode(request, segmentation, self.preset, self.info)

    def sign(self, answer: Answer, call: Call) -> Answer:
        """Say on the answer which model gave it, and where the time went."""
        signature = {**self.info.headers(), "Server-Timing": call.server_timing()}
        return replace(answer, headers={**answer.headers, **signature})


def logits_or_raise(outcome: Tensor | Exception) -> Tensor:
    """What `forward` holds for an image: its logits, or why there are none."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome

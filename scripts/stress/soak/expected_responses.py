"""Requests whose correct responses are known: photos in every output format, and invalid ones."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import requests
from PIL import Image

from scripts.common.street import draw_street
from serving.wire import OUTPUT_HEADER

Mask = npt.NDArray[np.integer]
Check = Callable[[requests.Response], bool]

# Share of equal pixels. The service computes photos in batches and in bf16, where a pixel between
# two classes may change sides; another photo's mask differs in size or agrees in far fewer.
MIN_AGREEMENT: Final = 0.98

VALID_PER_INVALID: Final = 25  # requests: four invalid ones for every hundred valid ones
SEED: Final = 0


@dataclass(frozen=True)
class CheckedRequest:
    """A request, and the check that its response must pass."""

    category: str  # for the report: an output format, or an error code
    body: bytes
    is_correct: Check
    headers: Mapping[str, str] = field(default_factory=dict)


def checked_requests(
    photos: Iterable[bytes], predict: Callable[[bytes], Mask]
) -> list[CheckedRequest]:
    """Each photo in every output format, and invalid requests, in a fixed shuffled order.

    `predict` gives a photo's correct mask, (H, W) class ids.
    """
    mixed = [request for photo in photos for request in requests_for(photo, predict(photo))]
    invalid = invalid_requests()
    mixed += invalid * max(1, len(mixed) // (VALID_PER_INVALID * len(invalid)))
    random.Random(SEED).shuffle(mixed)
    return mixed


def requests_for(photo: bytes, mask: Mask) -> list[CheckedRequest]:
    """One photo in every output format; `mask` (H, W) is the correct one."""
    height, width = mask.shape

    def correct_mask(response: requests.Response) -> bool:
        return agrees(np.asarray(picture_in(response, "P", "I;16")), mask)

    def correct_array(response: requests.Response) -> bool:
        return agrees(np.load(io.BytesIO(response.content), allow_pickle=False), mask)

    def correct_summary(response: requests.Response) -> bool:
        summary = response.json()
        same_size = summary["size"] == {"width": width, "height": height}
        pixels = {entry["id"]: entry["pixels"] for entry in summary["classes"]}
        return same_size and counts_agree(pixels, mask)

    def correct_overlay(response: requests.Response) -> bool:
        return picture_in(response, "RGB").size == (width, height)

    def correct_confidence(response: requests.Response) -> bool:
        return picture_in(response, "L").size == (width, height)

    checks = {
        "mask": correct_mask,
        "npy": correct_array,
        "json": correct_summary,
        "overlay": correct_overlay,
        "confidence": correct_confidence,
    }
    return [
        CheckedRequest(output, photo, succeeds(check), {OUTPUT_HEADER: output})
        for output, check in checks.items()
    ]


def invalid_requests() -> list[CheckedRequest]:
    """Requests that the service must refuse, each with its error code."""
    file = io.BytesIO()
    draw_street().save(file, "JPEG")
    street = file.getvalue()
    half = street[: len(street) // 2]
    hologram = {OUTPUT_HEADER: "hologram"}
    video = {"Accept": "video/mp4"}
    return [
        CheckedRequest("image_truncated", half, fails(400, "image_truncated")),
        CheckedRequest("unsupported_format", b"just a text\n", fails(415, "unsupported_format")),
        CheckedRequest("unknown_output", street, fails(400, "unknown_output"), hologram),
        CheckedRequest("not_acceptable", street, fails(406, "not_acceptable"), video),
    ]


def succeeds(check: Check) -> Check:
    """200, and a body that passes `check`."""
    return lambda response: response.status_code == requests.codes.ok and check(response)


def fails(status: int, code: str) -> Check:
    return lambda response: (
        response.status_code == status and response.json()["error"]["code"] == code
    )


def agrees(found: Mask, correct: Mask) -> bool:
    return found.shape == correct.shape and float((found == correct).mean()) > MIN_AGREEMENT


def counts_agree(pixels: Mapping[int, int], mask: Mask) -> bool:
    """Whether the pixel counts by class id could belong to a mask that agrees with `mask`."""
    found = np.zeros(max(*pixels, int(mask.max())) + 1)
    found[list(pixels)] = list(pixels.values())
    moved = np.abs(found - np.bincount(mask.ravel(), minlength=len(found))).sum() / 2
    return bool(found.sum() == mask.size and moved <= (1 - MIN_AGREEMENT) * mask.size)


def picture_in(response: requests.Response, *modes: str) -> Image.Image:
    """The decoded body. Raises ValueError unless it has one of Pillow's `modes`."""
    picture = Image.open(io.BytesIO(response.content))
    picture.load()
    if picture.mode not in modes:
        raise ValueError(f"the picture has mode {picture.mode}, expected {modes}")
    return picture

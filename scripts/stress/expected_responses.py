"""Requests whose right answers are known: drawn photos of many sizes and formats, each in every
output, and some that are to be refused."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import requests
from PIL import Image

from imaging import ImageError, decode_image
from scripts.common.street import draw_street
from scripts.common.terminal import UserError
from segmenter_client.inputs import EXTENSIONS

Mask = npt.NDArray[np.integer]

# Share of equal pixels. The service computes photos in batches and in bf16, where a pixel between
# two classes may tip; another photo's mask has another size or agrees in far fewer.
AGREEMENT = 0.98

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
WIDTHS = (240, 1200)  # px, of a drawn photo
ASPECTS = (0.5, 2.0)  # its height by its width
SEED = 0


@dataclass(frozen=True)
class Question:
    """A request, and whether an answer is its right one."""

    kind: str  # for the report: an output's name, or the error's code
    path: str  # after /predictions/segmenter
    body: bytes
    is_right: Callable[[requests.Response], bool]
    headers: Mapping[str, str] = field(default_factory=dict)


def questions(photos: Iterable[bytes], predict: Callable[[bytes], Mask]) -> list[Question]:
    """Each photo in every output, and what is refused, in a mixed order, always the same."""
    asked = [question for photo in photos for question in about(photo, predict(photo))]
    asked += refused() * max(1, len(asked) // 100)  # one error in 25
    random.Random(SEED).shuffle(asked)
    return asked


def drawn_photos(count: int) -> list[bytes]:
    """Streets, each of its own size and crop, half of them upright, in all the FORMATS."""
    chance = random.Random(SEED)
    street = draw_street()
    photos = []
    for index in range(count):
        left, top = chance.randrange(0, 200), chance.randrange(0, 150)
        crop = street.crop((left, top, left + 440, top + 330))
        width = chance.randint(*WIDTHS)
        size = (width, round(width * chance.uniform(*ASPECTS)))
        picture = crop.resize(size, Image.Resampling.BILINEAR)
        file = io.BytesIO()
        picture.save(file, FORMATS[index % len(FORMATS)])
        photos.append(file.getvalue())
    return photos


def photos_in(folder: Path) -> list[bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not paths:
        raise UserError(f"{folder} holds no photos ({', '.join(sorted(EXTENSIONS))})")
    return [readable(path) for path in paths]


def readable(path: Path) -> bytes:
    """The file's bytes. Raises UserError where they are no image that the service reads."""
    data = path.read_bytes()
    try:
        decode_image(data)
    except ImageError as error:
        raise UserError(f"{path}: {error}") from error
    return data


def about(photo: bytes, mask: Mask) -> list[Question]:
    """One photo in every output, by path; `mask` is its right answer."""
    size = (mask.shape[1], mask.shape[0])

    def right_mask(answer: requests.Response) -> bool:
        return agrees(np.asarray(picture_in(answer, "P", "I;16")), mask)

    def right_array(answer: requests.Response) -> bool:
        return agrees(np.load(io.BytesIO(answer.content), allow_pickle=False), mask)

    def right_json(answer: requests.Response) -> bool:
        document = answer.json()
        pixels = {entry["id"]: entry["pixels"] for entry in document["classes"]}
        found = np.zeros(max(*pixels, int(mask.max())) + 1)
        found[list(pixels)] = list(pixels.values())
        off = np.abs(found - np.bincount(mask.ravel(), minlength=len(found))).sum() / 2
        same_size = document["size"] == {"width": size[0], "height": size[1]}
        return bool(same_size and found.sum() == mask.size and off <= (1 - AGREEMENT) * mask.size)

    def right_overlay(answer: requests.Response) -> bool:
        return picture_in(answer, "RGB").size == size

    def right_confidence(answer: requests.Response) -> bool:
        return picture_in(answer, "L").size == size

    checks = {
        "mask": right_mask,
        "npy": right_array,
        "json": right_json,
        "overlay": right_overlay,
        "confidence": right_confidence,
    }
    return [
        Question(output, f"/1.0/{output}", photo, answered(is_right))
        for output, is_right in checks.items()
    ]


def refused() -> list[Question]:
    """What has no mask, and how it is told so."""
    file = io.BytesIO()
    draw_street().save(file, "JPEG")
    street = file.getvalue()
    accept_video = {"Accept": "video/mp4"}
    return [
        Question("image_truncated", "", street[: len(street) // 2], error(400, "image_truncated")),
        Question("unsupported_format", "", b"just a text\n", error(415, "unsupported_format")),
        Question("unknown_output", "/1.0/hologram", street, error(400, "unknown_output")),
        Question("not_acceptable", "", street, error(406, "not_acceptable"), accept_video),
    ]


def answered(is_right: Callable[[requests.Response], bool]) -> Callable[[requests.Response], bool]:
    return lambda answer: answer.status_code == requests.codes.ok and is_right(answer)


def error(status: int, code: str) -> Callable[[requests.Response], bool]:
    return lambda answer: answer.status_code == status and answer.json()["error"]["code"] == code


def agrees(found: Mask, right: Mask) -> bool:
    return found.shape == right.shape and float((found == right).mean()) > AGREEMENT


def picture_in(answer: requests.Response, *modes: str) -> Image.Image:
    picture = Image.open(io.BytesIO(answer.content))
    picture.load()
    if picture.mode not in modes:
        raise ValueError(f"the picture is of mode {picture.mode}, not {modes}")
    return picture

"""What clients send and get, made by the code that serves them: no example is written by hand."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from imaging import Limits
from imaging.decode.deadline import TimedFile
from imaging.decode.decoder import decode_image
from imaging.decode.formats import FRAME_MARKS, MAX_PNG_CHUNKS
from imaging.errors import ImageError
from model.preset import Preset
from serving.errors import (
    RequestError,
    answers_too_large,
    error_answer,
    internal_error_answer,
    overloaded_answer,
)
from serving.formats import OUTPUTS, check_size, encode
from serving.model_info import ModelInfo
from serving.request.json_body import SHAPES
from serving.request.open_inference import HEADER_LENGTH
from serving.request.parse import read_request
from serving.response.answer import Answer
from serving.runtime.pipeline import Segmentation
from serving.types import Request, Tensors

# A grey PNG of 8 x 6 pixels. As text, since its bytes would hang on the version of zlib.
IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAFElEQVR4nGNs"
    "aGhgwAaYsIrSSQIA4hoBjJwAPGsAAAAASUVORK5CYII="
)

DIGEST = "sha256:" + "0123456789abcdef" * 4
REQUEST_ID = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Sent:
    """A request's body and headers, as TorchServe hands them over in `row` and over HTTP alike."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def read(self, preset: Preset) -> Request:
        headers = {"content-length": str(len(self.body))}
        headers.update((name.lower(), value) for name, value in self.headers.items())
        return read_request({"body": bytearray(self.body)}, headers, preset.labels)


def json_inputs() -> list[object]:
    """A document in each of the shapes that are read."""
    encoded = base64.b64encode(IMAGE).decode("ascii")
    return [json.loads(shape.replace("<base64>", encoded)) for shape in SHAPES]


def answers(preset: Preset) -> dict[str, Answer]:
    """Every output, of one image of 4 x 3 pixels in which the model saw three classes."""
    segmentation = Segmentation(
        np.array([[0, 0, 0, 0], [0, 0, 1, 1], [4, 4, 1, 1]], np.uint8),
        np.full((3, 4), 204, np.uint8),
        Image.new("RGB", (4, 3), "gray"),
    )
    info = ModelInfo(preset.name, "1.0", DIGEST)
    return {
        name: encode(Request(b"", name, tensors=Tensors()), segmentation, preset, info)
        for name in OUTPUTS
    }


def errors(preset: Preset) -> list[Answer]:
    """Every error that has a code, by a request or an image that has the fault."""
    requests = [error_answer(refusal(Sent(*sent).read, preset)) for sent in BAD_REQUESTS]
    images = [error_answer(refusal(decode_image, data)) for data in bad_images()]
    large = Request(IMAGE, "legacy")
    others = [
        error_answer(refusal(check_size, large, (6000, 8000))),
        error_answer(refusal(read_too_late, IMAGE)),
    ]
    ours = [internal_error_answer(REQUEST_ID), overloaded_answer(), answers_too_large()]
    return [*requests, *images, *others, *ours]


def refusal(function: Callable[..., object], *inputs: object) -> ImageError | RequestError:
    try:
        function(*inputs)
    except (ImageError, RequestError) as error:
        return error
    raise AssertionError(f"{function} refuses nothing")


def bad_images() -> list[bytes]:
    return [
        b"no image",
        IMAGE[:50],
        IMAGE[:41] + bytes(12) + IMAGE[53:],
        png_header(60_000, 60_000),
        png_header(30_000, 10),
        IMAGE + bytes(Limits().max_bytes),
        b"GIF89a" + FRAME_MARKS["GIF"] * (Limits().max_frames + 1),
        IMAGE[:33] + chunk(b"tEXt", b"") * (MAX_PNG_CHUNKS + 1) + IMAGE[33:],
    ]


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that says it is of that size."""
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return IMAGE[:8] + chunk(b"IHDR", size + IMAGE[24:29]) + IMAGE[33:]


def chunk(name: bytes, content: bytes) -> bytes:
    """https://www.w3.org/TR/png-3/#5Chunk-layout"""
    check = zlib.crc32(name + content)
    return len(content).to_bytes(4, "big") + name + content + check.to_bytes(4, "big")


def read_too_late(data: bytes) -> None:
    file = TimedFile(data, Limits().max_seconds)
    file.deadline = 0.0
    file.read()


JSON = {"Content-Type": "application/json"}

BAD_REQUESTS: tuple[tuple[bytes, dict[str, str]], ...] = (
    (b"", {"Content-Type": "image/png"}),
    (b"{}", JSON),
    (b"{", JSON),
    (b"[" * 20_000, JSON),
    (b'{"image": "not base64"}', JSON),
    (b'{"instances": [{"b64": ""}, {"b64": ""}]}', JSON),
    (b'{"inputs": [], "id": 1}', JSON),
    (IMAGE, {"Url_path": "picture"}),
    (IMAGE, {"Accept": "audio/*"}),
    (IMAGE, {"X-Segmenter-Classes": "unicorn"}),
    (IMAGE, {"X-Segmenter-Threshold": "2"}),
    (IMAGE, {HEADER_LENGTH: "many"}),
    (
        json.dumps({**json.loads(SHAPES[2]), "outputs": [{"name": "depth"}]})
        .replace("<base64>", base64.b64encode(IMAGE).decode("ascii"))
        .encode("ascii"),
        JSON,
    ),
)

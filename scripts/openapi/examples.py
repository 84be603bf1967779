"""Example requests and responses, made by the code that serves: none is written by hand."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import Image

from imaging import Limits
from imaging.decode.deadline import TimedFile
from imaging.decode.decoder import decode_image
from imaging.decode.header import FRAME_MARKS
from imaging.decode.png.structure import MAX_CHUNKS
from imaging.errors import ImageError
from model.preset import Preset
from serving.errors import (
    RequestError,
    batch_too_large,
    client_error,
    internal_error,
    out_of_memory,
)
from serving.formats import FORMATS, check_response_size
from serving.request.content_encoding import MAX_INFLATED
from serving.request.parse import parse_request
from serving.response.encode import encode
from serving.response.encoder_input import EncoderInput
from serving.types import (
    DocumentRequest,
    HttpRequest,
    ImageFile,
    ModelInfo,
    Response,
    Segmentation,
    SegmentationRequest,
)
from serving.wire import INFERENCE_HEADER_LENGTH, JSON_SHAPES, MAX_IMAGES

# A grey PNG of 8 x 6 pixels. As text: a new encoding would depend on the version of zlib.
IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAFElEQVR4nGNs"
    "aGhgwAaYsIrSSQIA4hoBjJwAPGsAAAAASUVORK5CYII="
)

DIGEST = "sha256:" + "0123456789abcdef" * 4
PRECISION = "int8"
REQUEST_ID = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class ExampleRequest:
    """A request's body and headers."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    path_suffix: str = ""

    def parse(self, preset: Preset) -> SegmentationRequest | DocumentRequest:
        headers = {"content-length": str(len(self.body))}
        headers.update((name.lower(), value) for name, value in self.headers.items())
        parts = {"body": self.body}
        request = HttpRequest(REQUEST_ID, headers, parts, self.path_suffix)
        return parse_request(request, preset.labels)


def json_inputs() -> list[object]:
    """A document in each of the shapes that are read."""
    encoded = base64.b64encode(IMAGE).decode("ascii")
    return [json.loads(shape.replace("<base64>", encoded)) for shape in JSON_SHAPES]


def responses(preset: Preset) -> dict[str, Response]:
    """Every output format, of one image of 4 x 3 pixels in which the model saw three classes."""
    segmentation = Segmentation(
        np.array([[0, 0, 0, 0], [0, 0, 1, 1], [4, 4, 1, 1]], np.uint8),
        np.full((3, 4), 204, np.uint8),
        Image.new("RGB", (4, 3), "gray"),
    )
    info = ModelInfo(preset.name, "1.0", DIGEST, PRECISION)
    return {name: encode(name, EncoderInput(segmentation, preset, info)) for name in FORMATS}


def errors(preset: Preset) -> list[Response]:
    """Every error that has a code, by a request or an image that has the fault."""
    requests = [
        refusal(partial(ExampleRequest(*request).parse, preset)) for request in BAD_REQUESTS
    ]
    images = [refusal(partial(decode_image, data)) for data in bad_images()]
    forms = [HttpRequest(REQUEST_ID, {}, parts) for parts in BAD_FORMS]
    large = SegmentationRequest((ImageFile(IMAGE),), ("legacy",))
    others = [
        *(refusal(partial(parse_request, form, preset.labels)) for form in forms),
        refusal(lambda: check_response_size(large, 6000 * 8000)),
        refusal(lambda: read_too_late(IMAGE)),
    ]
    ours = [internal_error(REQUEST_ID), out_of_memory(), batch_too_large()]
    return [*map(client_error, [*requests, *images, *others]), *ours]


def refusal(attempt: Callable[[], object]) -> ImageError | RequestError:
    """The error with which an attempt is refused."""
    try:
        attempt()
    except (ImageError, RequestError) as error:
        return error
    raise AssertionError("the example is not refused")


def bad_images() -> list[bytes]:
    return [
        b"no image",
        IMAGE[:50],
        IMAGE[:41] + bytes(12) + IMAGE[53:],
        png_header(60_000, 60_000),
        png_header(30_000, 10),
        IMAGE + bytes(Limits().max_bytes),
        b"GIF89a" + FRAME_MARKS["GIF"] * (Limits().max_frames + 1),
        IMAGE[:33] + chunk(b"tEXt", b"") * (MAX_CHUNKS + 1) + IMAGE[33:],
    ]


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header claims that size."""
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return IMAGE[:8] + chunk(b"IHDR", size + IMAGE[24:29]) + IMAGE[33:]


def chunk(name: bytes, content: bytes) -> bytes:
    """https://www.w3.org/TR/png-3/#5Chunk-layout"""
    check = zlib.crc32(name + content)
    return len(content).to_bytes(4, "big") + name + content + check.to_bytes(4, "big")


def read_too_late(data: bytes) -> None:
    file = TimedFile(data, Limits().max_seconds)
    file.deadline.end = 0.0
    file.read()


JSON = {"Content-Type": "application/json"}

# Body, headers and path suffix.
BAD_REQUESTS: tuple[tuple[bytes, dict[str, str], str], ...] = (
    (b"", {"Content-Type": "image/png"}, ""),
    (b"{}", JSON, ""),
    (b"{", JSON, ""),
    (b"[" * 20_000, JSON, ""),
    (b'{"image": "not base64"}', JSON, ""),
    (b'{"inputs": [], "id": 1}', JSON, ""),
    (b'{"image": "", "image": ""}', JSON, ""),
    (b'{"image": "", "treshold": 0.5}', JSON, ""),
    (b'{"image": {"type": "Buffer", "data": [255, 256]}}', JSON, ""),
    (b'{"inputs": "", "parameters": {"subtask": "panoptic"}}', JSON, ""),
    (b"{}", {**JSON, "Content-Encoding": "br"}, ""),
    (b"{}", {**JSON, "Content-Encoding": "gzip"}, ""),
    (gzip.compress(bytes(MAX_INFLATED + 1), 1, mtime=0), {"Content-Encoding": "gzip"}, ""),
    (base64.b64encode(IMAGE), {}, ""),
    (b'{"image": ""}', {"Content-Type": "text/plain"}, ""),
    (b"--x\r\nContent-Disposition: form-data", {"Content-Type": "multipart/form-data"}, ""),
    (IMAGE, {}, "picture"),
    (IMAGE, {"Accept": "audio/*"}, ""),
    (IMAGE, {"X-Segmenter-Classes": "unicorn"}, ""),
    (IMAGE, {"X-Segmenter-Threshold": "2"}, ""),
    (IMAGE, {"X-Segmenter-Name": "../photo.jpg"}, ""),
    (IMAGE, {"X-Segmenter-Output": "mask,kserve"}, ""),
    (IMAGE, {INFERENCE_HEADER_LENGTH: "many"}, ""),
    (
        json.dumps({**json.loads(JSON_SHAPES[2]), "outputs": [{"name": "depth"}]})
        .replace("<base64>", base64.b64encode(IMAGE).decode("ascii"))
        .encode("ascii"),
        JSON,
        "",
    ),
)

# The parts of forms, by name.
BAD_FORMS: tuple[dict[str, bytes], ...] = (
    {"photo": IMAGE, "other": IMAGE},
    {f"image{number}": IMAGE for number in range(MAX_IMAGES + 1)},
)

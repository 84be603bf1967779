"""Requests in the Open Inference Protocol v2.

https://github.com/kserve/open-inference-protocol, and its binary extension, in which tensors follow
the JSON as raw bytes:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.errors import RequestError
from serving.request.json_body import decode_base64, image_missing, only_item, parse_json
from serving.request.names import TENSOR_KEYS, check_names
from serving.request.numbers import NumberList
from serving.request.options import quoted
from serving.types import TensorOptions
from serving.wire import INFERENCE_HEADER_LENGTH, TENSORS

MAX_ID: Final = 256  # characters; Triton's clients send a few
MAX_RANK: Final = 8  # of a tensor's shape; an image has four

Pixels = npt.NDArray[np.uint8]


def is_open_inference(document: Mapping[str, object]) -> bool:
    return isinstance(document.get("inputs"), list)


def split_binary(body: bytes, header_length: str) -> tuple[object, bytes]:
    """The JSON of a body in the binary extension, and the bytes behind it. Raises RequestError."""
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 10):
        raise _invalid(
            f"{INFERENCE_HEADER_LENGTH} is {quoted(header_length)}, not a number of bytes"
        )
    end_of_json = int(header_length)
    if end_of_json > len(body):
        raise _invalid(
            f"{INFERENCE_HEADER_LENGTH} is {end_of_json}, and the body has {len(body)} bytes"
        )
    document = parse_json(body[:end_of_json])
    raw = body[end_of_json:]
    if raw and not (isinstance(document, Mapping) and is_open_inference(document)):
        raise _invalid(f"{len(raw)} bytes come after JSON that names no input tensor")
    return document, raw


def open_inference_image(document: Mapping[str, object], raw: bytes = b"") -> bytes | Pixels:
    """The image in a request's only input tensor: a file's bytes, or pixels (H, W, 3), RGB.

    A file is an element of a BYTES tensor, or all of a UINT8 tensor of shape [N] or [1, N]; pixels
    are a UINT8 tensor of shape [1, H, W, 3] or [H, W, 3]. `raw` are the bytes behind the JSON, if
    the tensor is there. Raises RequestError 400.
    """
    tensor = only_item(document.get("inputs"))
    if not isinstance(tensor, Mapping):
        raise image_missing()
    check_names(tensor, TENSOR_KEYS, "key in a tensor")
    size = _parameters(tensor).get("binary_data_size")
    if raw and size != len(raw):
        raise _invalid(
            f"after the JSON come {len(raw)} bytes, and the tensor's binary_data_size is "
            f"{quoted(size)}"
        )
    datatype = tensor.get("datatype")
    if datatype == "BYTES":
        return _element(raw) if raw else _base64_element(tensor.get("data"))
    if datatype == "UINT8":
        return _uint8_image(raw or _listed(tensor.get("data")), tensor.get("shape"))
    raise _invalid(
        f"the datatype of the input tensor is {quoted(datatype)}. Send the image's file as BYTES, "
        "or its pixels as UINT8 of shape [1, height, width, 3]; "
        "the service scales and normalises them itself"
    )


def _element(raw: bytes) -> bytes:
    """The only element of a raw BYTES tensor: its length in 4 bytes, little-endian, and itself."""
    if len(raw) != 4 + int.from_bytes(raw[:4], "little"):
        raise _invalid(
            f"after the JSON come {len(raw)} bytes, which should be one tensor of one element: "
            "its length in 4 bytes, then the image; binary_data_size is both together"
        )
    return raw[4:]


def _base64_element(data: object) -> bytes:
    element = only_item(data)
    return decode_base64(only_item(element) if isinstance(element, list) else element)


def _listed(data: object) -> bytes:
    if not isinstance(data, NumberList):
        raise _invalid("the UINT8 tensor has no data: a list of numbers from 0 to 255")
    return data.as_bytes()


def _uint8_image(data: bytes, shape: object) -> bytes | Pixels:
    sides = _sides(shape)
    if math.prod(sides) != len(data):
        raise _invalid(
            f"a tensor of shape {quoted(sides)} has {math.prod(sides)} values, and "
            f"{len(data)} were sent"
        )
    without_batch = sides[1:] if sides[0] == 1 and len(sides) > 1 else sides
    if len(without_batch) == 1:
        return data
    if len(without_batch) == 3 and without_batch[2] == 3 and data:
        return np.frombuffer(data, np.uint8).reshape(without_batch)
    raise _invalid(
        f"the tensor's shape is {quoted(sides)}. Pixels are [1, height, width, 3], in RGB; "
        "a file is [number of bytes]"
    )


def _sides(shape: object) -> list[int]:
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_RANK:
        raise _invalid(f"the tensor's shape is {quoted(shape)}, not a list of its sides")
    sides = [side for side in shape if isinstance(side, int) and not isinstance(side, bool)]
    if len(sides) != len(shape) or min(sides) < 0:
        raise _invalid(f"the tensor's shape is {quoted(shape)}, not a list of its sides")
    return sides


def read_tensor_options(document: Mapping[str, object]) -> TensorOptions:
    """What the request says about its response. Raises RequestError 400."""
    request_id = document.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= MAX_ID):
        raise _invalid(f"the id is {quoted(request_id)}, not text of at most {MAX_ID} characters")
    outputs = document.get("outputs") or [{"name": "mask"}]
    if not isinstance(outputs, list) or not all(isinstance(entry, Mapping) for entry in outputs):
        raise _invalid('outputs is not a list like [{"name": "mask"}]')
    all_binary = _parameters(document).get("binary_data_output", False)
    is_binary = {
        _known_tensor(entry.get("name")): _parameters(entry).get("binary_data", all_binary) is True
        for entry in outputs
    }
    return TensorOptions(request_id, tuple(is_binary), frozenset(filter(is_binary.get, is_binary)))


def _known_tensor(name: object) -> str:
    if isinstance(name, str) and name in TENSORS:
        return name
    raise RequestError(
        400,
        "unknown_tensor",
        f"There is no output tensor {quoted(name)}. There are {' and '.join(TENSORS)}.",
        tensors=list(TENSORS),
    )


def _parameters(entry: Mapping[str, object]) -> Mapping[str, object]:
    parameters = entry.get("parameters")
    return parameters if isinstance(parameters, Mapping) else {}


def _invalid(reason: str) -> RequestError:
    return RequestError(
        400, "invalid_inference_request", f"The Open Inference v2 request is invalid: {reason}."
    )

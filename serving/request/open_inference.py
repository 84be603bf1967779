"""Requests in the Open Inference Protocol v2.

https://github.com/kserve/open-inference-protocol, and its binary extension, in which tensors follow
the JSON as raw bytes:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.errors import RequestError
from serving.request.json_body import (
    check_num_images,
    decode_base64,
    image_items,
    image_missing,
    parse_json,
)
from serving.request.names import TENSOR_KEYS, check_names
from serving.request.numbers import NumberList
from serving.request.options import quoted
from serving.types import TensorOptions
from serving.wire import INFERENCE_HEADER_LENGTH, TENSORS

MAX_ID: Final = 256  # characters; Triton's clients send a few
MAX_RANK: Final = 8  # of a tensor's shape; an image has four
MAX_SIDE: Final = 2**31  # of a tensor's shape; a request has fewer bytes

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


def open_inference_images(
    document: Mapping[str, object], raw: bytes = b""
) -> Sequence[bytes | Pixels]:
    """The images in a request's only input tensor: files' bytes, or pixels (H, W, 3), RGB.

    Files are the elements of a BYTES tensor, or one is all of a UINT8 tensor of shape [bytes] or
    [1, bytes]; pixels are a UINT8 tensor of shape [N, H, W, 3] or [H, W, 3]. `raw` are the bytes
    behind the JSON, if the tensor is there. Raises RequestError 400, 413.
    """
    tensors = image_items(document.get("inputs"))
    if len(tensors) > 1:
        raise _invalid(
            f"it has {len(tensors)} input tensors; several images are the elements of one, [N]"
        )
    (tensor,) = tensors
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
        elements = _raw_elements(raw) if raw else _base64_elements(tensor.get("data"))
        return _checked_shape(elements, tensor.get("shape"))
    if datatype == "UINT8":
        return _uint8_images(raw or _listed(tensor.get("data")), tensor.get("shape"))
    raise _invalid(
        f"the datatype of the input tensor is {quoted(datatype)}. Send images' files as BYTES, "
        "or their pixels as UINT8 of shape [N, height, width, 3]; "
        "the service scales and normalises them itself"
    )


def _raw_elements(raw: bytes) -> list[bytes]:
    """The elements of a raw BYTES tensor: each one's length in 4 bytes, little-endian, and it."""
    elements: list[bytes] = []
    position = 0
    while position < len(raw):
        check_num_images(len(elements) + 1)
        begin = position + 4
        position = begin + int.from_bytes(raw[position:begin], "little")
        elements.append(raw[begin:position])
    if position != len(raw):
        raise _invalid(
            f"after the JSON come {len(raw)} bytes, which should be one tensor: of each element "
            "its length in 4 bytes, then the image; binary_data_size is all together"
        )
    return elements


def _base64_elements(data: object) -> list[bytes]:
    """Elements one after the other, or each in a list of its own, as of a tensor [N, 1]."""
    return [
        decode_base64(item[0] if isinstance(item, list) and len(item) == 1 else item)
        for item in image_items(data)
    ]


def _checked_shape(elements: list[bytes], shape: object) -> list[bytes]:
    """The elements, if the shape of several counts as many: [N], or with sides of 1."""
    sides = shape if isinstance(shape, list) else [shape]
    if len(elements) > 1 and [side for side in sides if side != 1] != [len(elements)]:
        raise _invalid(
            f"the tensor's shape is {_shown(shape)}, and {len(elements)} elements were sent: "
            f"the shape of these is [{len(elements)}]"
        )
    return elements


def _listed(data: object) -> bytes:
    if not isinstance(data, NumberList):
        raise _invalid("the UINT8 tensor has no data: a list of numbers from 0 to 255")
    return data.as_bytes()


def _uint8_images(data: bytes, shape: object) -> Sequence[bytes | Pixels]:
    sides = _sides(shape)
    if math.prod(sides) != len(data):
        raise _invalid(
            f"a tensor of shape {sides} has {math.prod(sides)} values, and {len(data)} were sent"
        )
    if len(sides) == 1 or (len(sides) == 2 and sides[0] == 1):
        return [data]
    if len(sides) in (3, 4) and sides[-1] == 3 and data:
        images = np.frombuffer(data, np.uint8).reshape(-1, *sides[-3:])
        check_num_images(len(images))
        return list(images)
    raise _invalid(
        f"the tensor's shape is {sides}. Pixels are [N, height, width, 3], in RGB; "
        "a file is [number of bytes]"
    )


def _sides(shape: object) -> list[int]:
    """The sides of a shape, few and small enough to be multiplied and shown."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_RANK:
        raise _invalid(f"the tensor's shape is {_shown(shape)}, not a list of its sides")
    sides = [side for side in shape if isinstance(side, int) and not isinstance(side, bool)]
    if len(sides) != len(shape) or min(sides) < 0:
        raise _invalid(f"the tensor's shape is {_shown(shape)}, not a list of its sides")
    if max(sides) > MAX_SIDE:
        raise _invalid(f"a side of the tensor's shape is {quoted(max(sides))}, above {MAX_SIDE}")
    return sides


def _shown(shape: object) -> str:
    """A shape as sent, for a message: of a short list each side."""
    if isinstance(shape, list) and 1 <= len(shape) <= MAX_RANK:
        return f"[{', '.join(map(quoted, shape))}]"
    return quoted(shape)


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

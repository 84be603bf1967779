"""Requests in the Open Inference Protocol v2.

https://github.com/kserve/open-inference-protocol, and its binary extension, in which tensors follow
the JSON as raw bytes:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from serving.errors import RequestError
from serving.request.json_body import decode_base64, image_missing, only_item, parse_json
from serving.request.options import quoted
from serving.types import TensorOptions
from serving.wire import INFERENCE_HEADER_LENGTH, TENSORS

MAX_ID: Final = 256  # characters; Triton's clients send a few


def is_open_inference(document: Mapping[str, object]) -> bool:
    return isinstance(document.get("inputs"), list)


def open_inference_image(document: Mapping[str, object]) -> bytes:
    """The image's bytes, in base64. Raises RequestError 400."""
    return decode_base64(only_item(bytes_tensor(document).get("data")))


def bytes_tensor(document: Mapping[str, object]) -> Mapping[str, object]:
    """The request's only input tensor. Raises RequestError 400 unless it is of type BYTES."""
    tensor = only_item(document.get("inputs"))
    if not isinstance(tensor, Mapping) or tensor.get("datatype") != "BYTES":
        raise image_missing()
    return tensor


def read_binary(body: bytes, header_length: str) -> tuple[object, bytes | None]:
    """The JSON of a body in the binary extension, and the image, if it is in a tensor behind it.

    An element of a BYTES tensor is its length in 4 bytes, little-endian, and itself. Raises
    RequestError 400.
    """
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
    element = body[end_of_json:]
    if not element:
        return document, None
    if isinstance(document, Mapping):
        size = _parameters(bytes_tensor(document)).get("binary_data_size")
        if size == len(element) and size == 4 + int.from_bytes(element[:4], "little"):
            return document, element[4:]
    raise _invalid(
        f"after the JSON come {len(element)} bytes, which should be one tensor of one element: "
        "its length in 4 bytes, then the image; binary_data_size is both together"
    )


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

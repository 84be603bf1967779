"""The Open Inference Protocol v2, for what it has beyond an image in JSON.

https://github.com/kserve/open-inference-protocol, and its binary extension, in which tensors follow
the JSON as raw bytes:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from imaging.export.json_arrays import json_bytes
from serving.errors import RequestError
from serving.request.json_body import bytes_tensor, parse_json
from serving.request.options import quoted
from serving.response.answer import Answer
from serving.response.result import Result
from serving.types import Tensors

# Bytes of JSON before the tensors. TorchServe passes it on, and back.
HEADER_LENGTH: Final = "Inference-Header-Content-Length"

TENSORS: Final = ("mask", "confidence")  # those that can be asked for

MAX_ID: Final = 256  # characters; Triton's clients send a few

DATATYPES: Final = {np.dtype(np.uint8): "UINT8", np.dtype(np.int32): "INT32"}


def read_binary(body: bytes, header_length: str) -> tuple[object, bytes | None]:
    """The JSON of a body in the binary extension, and the image, if it is in a tensor behind it.

    An element of a BYTES tensor is its length in 4 bytes, little-endian, and itself. Raises
    RequestError 400.
    """
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 10):
        raise _invalid(f"{HEADER_LENGTH} is {quoted(header_length)}, not a number of bytes")
    end_of_json = int(header_length)
    if end_of_json > len(body):
        raise _invalid(f"{HEADER_LENGTH} is {end_of_json}, and the body has {len(body)} bytes")
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


def read_tensors(document: Mapping[str, object]) -> Tensors:
    """What the request says of its answer. Raises RequestError 400."""
    answer_id = document.get("id")
    if answer_id is not None and not (isinstance(answer_id, str) and len(answer_id) <= MAX_ID):
        raise _invalid(f"the id is {quoted(answer_id)}, not text of at most {MAX_ID} characters")
    outputs = document.get("outputs") or [{"name": "mask"}]
    if not isinstance(outputs, list) or not all(isinstance(entry, Mapping) for entry in outputs):
        raise _invalid('outputs is not a list like [{"name": "mask"}]')
    all_binary = _parameters(document).get("binary_data_output", False)
    is_binary = {
        _known(entry.get("name")): _parameters(entry).get("binary_data", all_binary) is True
        for entry in outputs
    }
    return Tensors(answer_id, tuple(is_binary), frozenset(filter(is_binary.get, is_binary)))


def infer_response(result: Result) -> bytes | Answer:
    """The tensors asked for, [1, H, W] each, as JSON or with their bytes behind it."""
    asked = result.request.tensors
    outputs, raw = [], []
    for name in asked.names:
        array = result.mask if name == "mask" else result.confidence
        tensor: dict[str, object] = {
            "name": name,
            "shape": [1, *array.shape],
            "datatype": DATATYPES[array.dtype],
        }
        if name in asked.binary:
            raw.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            tensor["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            tensor["data"] = array
        outputs.append(tensor)
    document = {
        "model_name": result.info.name,
        "model_version": result.info.version,
        **({} if asked.id is None else {"id": asked.id}),
        "outputs": outputs,
    }
    header = json_bytes(document)
    if not raw:
        return header
    body = b"".join([header, *raw])
    return Answer(200, "application/octet-stream", body, {HEADER_LENGTH: str(len(header))})


def _known(name: object) -> str:
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


def _invalid(what: str) -> RequestError:
    return RequestError(
        400, "invalid_inference_request", f"The Open Inference v2 request cannot be read: {what}."
    )

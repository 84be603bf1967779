"""Responses in the Open Inference Protocol v2, as JSON or with raw tensors behind the JSON.

The links to both specifications are in serving/request/open_inference.py.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from imaging.export.json_arrays import json_bytes
from serving.response.encoder_input import EncoderInput
from serving.types import Response
from serving.wire import INFERENCE_HEADER_LENGTH

DATATYPES: Final = {np.dtype(np.uint8): "UINT8", np.dtype(np.int32): "INT32"}


def infer_response(content: EncoderInput) -> bytes | Response:
    """The requested tensors, [1, H, W] each."""
    options = content.request.tensors
    outputs, raw = [], []
    for name in options.names:
        array = content.mask if name == "mask" else content.confidence
        tensor: dict[str, object] = {
            "name": name,
            "shape": [1, *array.shape],
            "datatype": DATATYPES[array.dtype],
        }
        if name in options.binary:
            raw.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            tensor["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            tensor["data"] = array
        outputs.append(tensor)
    document = {
        "model_name": content.model.name,
        "model_version": content.model.version,
        **({} if options.id is None else {"id": options.id}),
        "outputs": outputs,
    }
    header = json_bytes(document)
    if not raw:
        return header
    body = b"".join([header, *raw])
    headers = {INFERENCE_HEADER_LENGTH: str(len(header))}
    return Response(200, "application/octet-stream", body, headers)

"""Responses in the Open Inference Protocol v2, as JSON or with raw tensors behind the JSON.

The links to both specifications are in serving/request/open_inference.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from imaging.export.json_arrays import json_bytes
from serving.response.encoder_input import EncoderInput
from serving.types import Response
from serving.wire import INFERENCE_HEADER_LENGTH, JSON

Array = npt.NDArray[np.integer]

DATATYPES: Final = {np.dtype(np.uint8): "UINT8", np.dtype(np.int32): "INT32"}


def infer_response(content: EncoderInput) -> Response:
    """The requested tensors of one image, [1, H, W] each."""
    return infer_response_of_several([content])


def infer_response_of_several(contents: Sequence[EncoderInput]) -> Response:
    """The requested tensors, [N, H, W] each, where all images are H x W.

    A tensor is a rectangle. So images of several sizes have tensors of their own, [1, H, W], with
    their place in the name: mask_0, mask_1, ...
    """
    options, model = contents[0].tensors, contents[0].model
    outputs, raw = [], []
    for name in options.names:
        arrays = [content.mask if name == "mask" else content.confidence for content in contents]
        for tensor_name, array in _stacked(name, arrays):
            tensor: dict[str, object] = {
                "name": tensor_name,
                "shape": list(array.shape),
                "datatype": DATATYPES[array.dtype],
            }
            if name in options.binary:
                raw.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
                tensor["parameters"] = {"binary_data_size": len(raw[-1])}
            else:
                tensor["data"] = array
            outputs.append(tensor)
    document = {
        "model_name": model.name,
        "model_version": model.version,
        **({} if options.id is None else {"id": options.id}),
        "outputs": outputs,
    }
    header = json_bytes(document)
    if not raw:
        return Response(200, JSON, header)
    body = b"".join([header, *raw])
    headers = {INFERENCE_HEADER_LENGTH: str(len(header))}
    return Response(200, "application/octet-stream", body, headers)


def _stacked(name: str, arrays: Sequence[Array]) -> list[tuple[str, Array]]:
    """Arrays (H, W) of one size as one tensor (N, H, W), of several as one for each (1, H, W)."""
    if len({array.shape for array in arrays}) == 1:
        return [(name, np.stack(arrays) if len(arrays) > 1 else arrays[0][None])]
    return [(f"{name}_{index}", array[None]) for index, array in enumerate(arrays)]

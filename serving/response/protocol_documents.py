"""What the Open Inference and KServe protocols let a client ask of a server and of its model.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/kserve/kserve/blob/master/docs/predict-api/v1/README.md
"""

from __future__ import annotations

from model.preset import Preset
from serving.label_map import void_id
from serving.types import ModelInfo
from serving.wire import MODEL_NAME, TENSORS

# Responses to the probes of a server, where it lives and where it is ready.
SERVER_LIVE: dict[str, object] = {"live": True}
SERVER_READY: dict[str, object] = {"ready": True}


def server_metadata() -> dict[str, object]:
    """The response to GET /v2."""
    return {"name": MODEL_NAME, "version": "2", "extensions": ["binary_tensor_data"]}


def model_ready() -> dict[str, object]:
    """The response of both protocols to the question whether the model is ready, where it is."""
    return {"name": MODEL_NAME, "ready": True}


def model_metadata(preset: Preset, info: ModelInfo) -> dict[str, object]:
    """The response to GET /v2/models/segmenter: its tensors; -1 is a size that varies.

    The input can be pixels as well, UINT8 [1, height, width, 3], which the protocol cannot say of
    the same tensor.
    """
    largest_id = max(void_id(preset.labels), preset.num_classes - 1)
    mask_datatype = "UINT8" if largest_id < 256 else "INT32"
    datatypes = {"mask": mask_datatype, "confidence": "UINT8"}
    return {
        "name": MODEL_NAME,
        "versions": [info.version],
        "platform": "pytorch_deeplabv3",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": datatypes[name], "shape": [-1, -1, -1]} for name in TENSORS
        ],
    }

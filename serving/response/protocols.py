"""A result as clients of other services expect it."""

from __future__ import annotations

import base64

import numpy as np

from imaging.export.json_arrays import json_bytes
from imaging.export.pairs import class_probability_json
from imaging.export.png import grey_png
from imaging.export.rle import column_runs
from serving.response import masks as encoders
from serving.response.result import Result

BLACK, WHITE = np.uint8(0), np.uint8(255)


def predictions(result: Result) -> bytes:
    """KServe's v1 protocol, in which `{"b64": ...}` is how JSON holds bytes.

    https://github.com/kserve/kserve/blob/master/docs/predict-api/v1/README.md
    """
    height, width = result.size
    ids = np.unique(column_runs(result.mask).values).tolist()  # bincount makes int64 of all pixels
    prediction = {
        "size": {"width": width, "height": height},
        "mask": {"b64": _base64(encoders.mask(result))},
        "void": result.legend.void,
        "classes": [{"id": index, "label": result.legend.labels[index]} for index in ids],
    }
    return json_bytes({"predictions": [prediction]})


def segments(result: Result) -> bytes:
    """What Hugging Face's `image-segmentation` task answers: an array with an entry per class.

    A mask is 255 where the class is, else 0; the score is the mean confidence there. Void is left
    out unless it is a class, background. https://github.com/huggingface/huggingface.js has the
    schema: packages/tasks/src/tasks/image-segmentation/spec/output.json.
    """
    num_classes = result.preset.num_classes
    return json_bytes(
        [
            {
                "label": entry["label"],
                "score": entry["confidence"],
                "mask": _base64(grey_png(np.where(result.mask == entry["id"], WHITE, BLACK))),
            }
            for entry in result.classes()
            if entry["id"] < num_classes
        ]
    )


def class_probabilities(result: Result) -> bytes:
    """What pytorch/serve's image_segmenter answers, at the photo's own size."""
    return class_probability_json(result.mask, result.confidence)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

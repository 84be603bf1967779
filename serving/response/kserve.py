"""KServe's v1 protocol, in which {"b64": ...} is how JSON holds bytes.

https://github.com/kserve/kserve/blob/master/docs/predict-api/v1/README.md
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import numpy as np

from imaging.export.json_arrays import json_bytes
from imaging.export.rle import column_runs
from serving.response.encoder_input import EncoderInput
from serving.response.masks import palette_png

HEAD: Final = b'{"predictions":['
TAIL: Final = b"]}"


def predictions(content: EncoderInput) -> bytes:
    height, width = content.size
    # np.unique of the runs: of all pixels it would need their int64 copy.
    ids = np.unique(column_runs(content.mask).values).tolist()
    prediction = {
        "size": {"width": width, "height": height},
        "mask": {"b64": base64.b64encode(palette_png(content)).decode("ascii")},
        "void": content.label_map.void,
        "classes": [{"id": index, "label": content.label_map.labels[index]} for index in ids],
    }
    return HEAD + json_bytes(prediction) + TAIL


def joined_predictions(images: Sequence[bytes | str]) -> bytes:
    """One document of several: of each image its own `predictions`, or its error's message."""
    entries = [
        json_bytes({"error": image}) if isinstance(image, str) else image[len(HEAD) : -len(TAIL)]
        for image in images
    ]
    return HEAD + b",".join(entries) + TAIL

"""The response of Hugging Face's `image-segmentation` task: an array with an entry per class.

https://github.com/huggingface/huggingface.js has the schema:
packages/tasks/src/tasks/image-segmentation/spec/output.json.
"""

from __future__ import annotations

import base64

import numpy as np

from imaging.export.json_arrays import json_bytes
from imaging.export.png import grey_png
from serving.response.encoder_input import EncoderInput

OUTSIDE, INSIDE = np.uint8(0), np.uint8(255)


def segments(content: EncoderInput) -> bytes:
    """A mask is 255 where the class is, else 0; the score is the mean confidence there.

    Void is left out unless it is a class, background.
    """
    num_classes = content.preset.num_classes
    return json_bytes(
        [
            {
                "label": entry["label"],
                "score": entry["confidence"],
                "mask": _png_base64(np.where(content.mask == entry["id"], INSIDE, OUTSIDE)),
            }
            for entry in content.classes
            if entry["id"] < num_classes
        ]
    )


def _png_base64(mask: np.ndarray) -> str:
    return base64.b64encode(grey_png(mask)).decode("ascii")

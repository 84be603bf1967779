"""The response of a CVAT serverless detector: per class its mask, cropped to its bounding box.

https://docs.cvat.ai/docs/manual/advanced/serverless-tutorial/
"""

from __future__ import annotations

import numpy as np

from imaging.export.json_arrays import json_bytes
from serving.errors import RequestError
from serving.response.encoder_input import EncoderInput

# Pixels of all classes' boxes together, each of which is two bytes of text. Boxes overlap: of a
# photo that is full of specks of 20 classes, every box is nearly the whole.
MAX_BOX_PIXELS = 16_000_000


def detections(content: EncoderInput) -> bytes:
    """Raises RequestError 413 where the boxes have more than MAX_BOX_PIXELS."""
    objects = content.objects
    pixels = sum(width * height for _, _, width, height in (entry["bbox"] for entry in objects))
    if pixels > MAX_BOX_PIXELS:
        raise RequestError(
            413,
            "answer_too_large",
            f"The format cvat is limited to {MAX_BOX_PIXELS} pixels, and the bounding boxes of the "
            f"classes found have {pixels}. Downscale the image, or request coco.",
            pixels=pixels,
            max_pixels=MAX_BOX_PIXELS,
        )
    shapes = []
    for entry in objects:
        left, top, width, height = entry["bbox"]
        crop = content.mask[top : top + height, left : left + width] == entry["id"]
        # uint16: NumPy would promote the crop's booleans to the box's type, int64 by default.
        box = np.array([left, top, left + width - 1, top + height - 1], np.uint16)
        shapes.append(
            {
                "confidence": f"{entry['confidence']:.4f}",
                "label": entry["label"],
                "type": "mask",
                "mask": np.append(crop, box),
            }
        )
    return json_bytes(shapes)

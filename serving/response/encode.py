"""A segmentation in the output format that the client requested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from serving.formats import FORMATS
from serving.response import (
    coco,
    cvat,
    geojson,
    huggingface,
    kserve,
    label_studio,
    legacy,
    masks,
    open_inference,
    summary,
)
from serving.response.encoder_input import EncoderInput
from serving.types import Response

# The body, or a whole response where its type or headers depend on the request.
Encoder = Callable[[EncoderInput], "bytes | Response"]

# By the names of FORMATS.
ENCODERS: Final[Mapping[str, Encoder]] = {
    "mask": masks.palette_png,
    "overlay": masks.overlay,
    "json": summary.summary,
    "confidence": masks.confidence_png,
    "npy": masks.npy,
    "kserve": kserve.predictions,
    "open-inference": open_inference.infer_response,
    "huggingface": huggingface.segments,
    "coco": coco.coco_rle,
    "coco-polygons": coco.coco_outlines,
    "geojson": geojson.feature_collection,
    "labelstudio": label_studio.prediction,
    "cvat": cvat.detections,
    "legacy": legacy.class_probabilities,
}


def encode(output: str, content: EncoderInput) -> Response:
    """The response in the format `output`, a key of FORMATS.

    The segmentation must hold its confidence and its photo where the format needs them. Raises
    RequestError 413 where the format cannot hold it.
    """
    encoded = ENCODERS[output](content)
    if isinstance(encoded, Response):
        return encoded
    return Response(200, FORMATS[output].media_type, encoded)

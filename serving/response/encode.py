"""A segmentation in the output format that the client requested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from model.preset import Preset
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
from serving.types import ModelInfo, Response, Segmentation, SegmentationRequest

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


def encode(
    request: SegmentationRequest, segmentation: Segmentation, preset: Preset, model: ModelInfo
) -> Response:
    """The response in the format `request.output`.

    The segmentation must hold its confidence where formats.needs_confidence(request), its photo
    where formats.needs_original(request). Raises RequestError 413 where the format cannot hold it.
    """
    encoded = ENCODERS[request.output](EncoderInput(request, segmentation, preset, model))
    if isinstance(encoded, Response):
        return encoded
    return Response(200, FORMATS[request.output].media_type, encoded)

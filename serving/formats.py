"""A segmentation as what its requester reads: a name, a media type and an encoder for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from model.preset import Preset
from serving.errors import RequestError
from serving.model_info import ModelInfo
from serving.request.open_inference import infer_response
from serving.response import labelling, protocols
from serving.response import masks as encoders
from serving.response.answer import Answer
from serving.response.result import Result
from serving.runtime.pipeline import Segmentation
from serving.types import Request

JSON: Final = "application/json"

# Pixels of a photo whose every pixel is written as text, for at most about 64 MB of it; twice that
# where the confidence is asked for beside the mask.
MAX_LISTED: Final = 16_000_000  # a number and a comma
MAX_LISTED_IN_PAIRS: Final = 4_000_000  # [class,probability]
MAX_LISTED_PER_CLASS: Final = 4_000_000  # a digit and a comma in the box of each class


@dataclass(frozen=True)
class Output:
    """One form of answer, and what of a segmentation its encoder reads beside the mask.

    An encoder returns the body, or all of an answer whose type or headers depend on the request.
    """

    media_type: str
    content: str  # for the model card
    encoder: Callable[[Result], bytes | Answer]
    confidence: bool = False
    original: bool = False
    max_pixels: int | None = None  # of the photo, where the answer grows with every one of them


def encode(request: Request, segmentation: Segmentation, preset: Preset, info: ModelInfo) -> Answer:
    """The answer that `request` asks for by its output, a key of OUTPUTS.

    The segmentation must hold its confidence or its photo where needs_confidence(request) or
    needs_original(request).
    """
    form = OUTPUTS[request.output]
    content = form.encoder(Result(request, segmentation, preset, info))
    return content if isinstance(content, Answer) else Answer(200, form.media_type, content)


def needs_confidence(request: Request) -> bool:
    form = OUTPUTS[request.output]
    return form.confidence or request.options.threshold > 0 or "confidence" in request.tensors.names


def needs_original(request: Request) -> bool:
    return OUTPUTS[request.output].original


def check_size(request: Request, size: tuple[int, int]) -> None:
    """Refuse a photo of (H, W) that would be too much text. Raises RequestError 413."""
    pixels, limit = size[0] * size[1], OUTPUTS[request.output].max_pixels
    is_text = not request.tensors.binary.issuperset(request.tensors.names)
    if is_text and limit is not None and pixels > limit:
        raise RequestError(
            413,
            "answer_too_large",
            f"As {request.output} at most {limit} pixels are answered, and the image has {pixels}. "
            "Scale it down, or ask for another output: mask and npy have no such limit.",
            pixels=pixels,
            max_pixels=limit,
        )


# In the order of preference where a client takes several at the same weight.
OUTPUTS: Final[dict[str, Output]] = {
    "mask": Output("image/png", "palette PNG; pixel value = class id", encoders.mask),
    "overlay": Output(
        "image/jpeg", "the photo with the classes blended in", encoders.overlay, original=True
    ),
    "json": Output(
        JSON,
        "per class: id, label, colour, pixels, fraction, bbox, mean confidence, COCO RLE",
        encoders.summary,
        confidence=True,
    ),
    "confidence": Output(
        "image/png",
        "8-bit grey PNG; probability of the winning class x 255",
        encoders.confidence,
        confidence=True,
    ),
    "npy": Output("application/x-npy", "NumPy array (height, width) of class ids", encoders.npy),
    "kserve": Output(
        JSON,
        "KServe v1: predictions, one for the image: its mask as a PNG in base64, and its classes",
        protocols.predictions,
    ),
    "open-inference": Output(
        JSON,
        "Open Inference v2: tensors mask and confidence, UINT8 [1, height, width]; or binary",
        infer_response,
        max_pixels=MAX_LISTED,
    ),
    "huggingface": Output(
        JSON,
        "Hugging Face image-segmentation: per class label, score, mask as a PNG in base64",
        protocols.segments,
        confidence=True,
    ),
    "coco": Output(
        JSON,
        "COCO annotations: one per class, pixels as compressed RLE; category id = class id",
        labelling.coco,
        confidence=True,
    ),
    "coco-polygons": Output(
        JSON,
        "COCO annotations: one per class, outlines as polygons; holes are cut open",
        labelling.coco_with_polygons,
        confidence=True,
    ),
    "geojson": Output(
        "application/geo+json",
        "GeoJSON FeatureCollection in pixels: one MultiPolygon per class, with holes",
        labelling.geojson,
        confidence=True,
    ),
    "labelstudio": Output(
        JSON,
        "a Label Studio prediction: brush RLE per class, from_name tag, to_name image",
        labelling.label_studio,
        confidence=True,
    ),
    "cvat": Output(
        JSON,
        "CVAT serverless detections: per class its mask, cropped to its box",
        labelling.cvat,
        confidence=True,
        max_pixels=MAX_LISTED_PER_CLASS,
    ),
    "legacy": Output(
        JSON,
        "as pytorch/serve's image_segmenter: [height][width][class, probability]",
        protocols.class_probabilities,
        confidence=True,
        max_pixels=MAX_LISTED_IN_PAIRS,
    ),
}

MEDIA_TYPES: Final[dict[str, str]] = {name: form.media_type for name, form in OUTPUTS.items()}

"""The output formats: one entry each, from which all that lists them is made.

Request parsing, content negotiation, the model card, the OpenAPI document, the tables of the
documentation and the client's file suffixes follow from FORMATS; serving/response/encode.py has the
encoder for each name. CONTRIBUTING.md lists the steps that adding a format takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from serving import wire
from serving.errors import RequestError
from serving.types import SegmentationRequest

# Pixels of a photo of which every pixel becomes text, for at most about 64 MB of it; twice that
# where the confidence is requested beside the mask.
MAX_LISTED: Final = 16_000_000  # a number and a comma
MAX_LISTED_IN_PAIRS: Final = 4_000_000  # [class,probability]
MAX_LISTED_PER_CLASS: Final = 4_000_000  # a digit and a comma in the box of each class


@dataclass(frozen=True)
class OutputFormat:
    """One way to send a segmentation back, and what its encoder reads beside the mask."""

    media_type: str
    content: str  # one line for the model card and the documents
    suffix: str | None = None  # of a file of this format; None: a protocol's response, not a file
    needs_confidence: bool = False
    needs_original: bool = False
    max_pixels: int | None = None  # of the photo, where the response grows with every one of them


# In order of preference where a client accepts several at the same weight.
FORMATS: Final[dict[str, OutputFormat]] = {
    "mask": OutputFormat("image/png", "palette PNG; pixel value = class id", suffix=".mask.png"),
    "overlay": OutputFormat(
        "image/jpeg",
        "the photo with the classes blended in",
        suffix=".overlay.jpg",
        needs_original=True,
    ),
    "json": OutputFormat(
        wire.JSON,
        "per class: id, label, colour, pixels, fraction, bbox, mean confidence, COCO RLE",
        suffix=".json",
        needs_confidence=True,
    ),
    "confidence": OutputFormat(
        "image/png",
        "8-bit grey PNG; probability of the winning class x 255",
        suffix=".confidence.png",
        needs_confidence=True,
    ),
    "npy": OutputFormat(
        "application/x-npy", "NumPy array (height, width) of class ids", suffix=".npy"
    ),
    "kserve": OutputFormat(
        wire.JSON,
        "KServe v1: predictions, one for the image: its mask as a PNG in base64, and its classes",
    ),
    "open-inference": OutputFormat(
        wire.JSON,
        "Open Inference v2: tensors mask and confidence, UINT8 [1, height, width]; or binary",
        max_pixels=MAX_LISTED,
    ),
    "huggingface": OutputFormat(
        wire.JSON,
        "Hugging Face image-segmentation: per class label, score, mask as a PNG in base64",
        needs_confidence=True,
    ),
    "coco": OutputFormat(
        wire.JSON,
        "COCO annotations: one per class, pixels as compressed RLE; category id = class id + 1",
        suffix=".coco.json",
        needs_confidence=True,
    ),
    "coco-polygons": OutputFormat(
        wire.JSON,
        "COCO annotations: one per class, outlines as polygons; holes are cut open",
        suffix=".coco-polygons.json",
        needs_confidence=True,
    ),
    "geojson": OutputFormat(
        "application/geo+json",
        "GeoJSON FeatureCollection in pixels: one MultiPolygon per class, with holes",
        suffix=".geojson",
        needs_confidence=True,
    ),
    "labelstudio": OutputFormat(
        wire.JSON,
        "a Label Studio prediction: brush RLE per class, from_name tag, to_name image",
        suffix=".labelstudio.json",
        needs_confidence=True,
    ),
    "cvat": OutputFormat(
        wire.JSON,
        "CVAT serverless detections: per class its mask, cropped to its box",
        suffix=".cvat.json",
        needs_confidence=True,
        max_pixels=MAX_LISTED_PER_CLASS,
    ),
    "legacy": OutputFormat(
        wire.JSON,
        "as pytorch/serve's image_segmenter: [height][width][class, probability]",
        needs_confidence=True,
        max_pixels=MAX_LISTED_IN_PAIRS,
    ),
}

MEDIA_TYPES: Final[dict[str, str]] = {name: entry.media_type for name, entry in FORMATS.items()}


def needs_confidence(request: SegmentationRequest) -> bool:
    return (
        any(FORMATS[output].needs_confidence for output in request.outputs)
        or request.options.threshold > 0
        or "confidence" in request.tensors.names
    )


def needs_original(request: SegmentationRequest) -> bool:
    return any(FORMATS[output].needs_original for output in request.outputs)


def check_response_size(request: SegmentationRequest, pixels: int) -> None:
    """Refuse photos of so many pixels together if a response would be too much text.

    Raises RequestError 413.
    """
    if request.tensors.binary.issuperset(request.tensors.names):
        return  # no text
    for output in request.outputs:
        limit = FORMATS[output].max_pixels
        if limit is not None and pixels > limit:
            raise RequestError(
                413,
                "answer_too_large",
                f"The format {output} is limited to {limit} pixels, and the image has "
                f"{pixels}. Downscale it, or request another format: mask and npy have no such "
                "limit.",
                pixels=pixels,
                max_pixels=limit,
            )

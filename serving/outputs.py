"""A segmentation as what its requester reads: a name, a media type and an encoder for each."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.overlay import overlay_jpeg
from imaging.png import grey_png, mask_png
from imaging.summary import class_summaries
from model.preset import Preset
from serving.answer import Answer, json_answer
from serving.info import ModelInfo
from serving.pipeline import Segmentation

Encoder = Callable[[Segmentation, Preset, ModelInfo], bytes]


@dataclass(frozen=True)
class Output:
    """One form of answer, and what of a segmentation its encoder reads beside the mask."""

    media_type: str
    content: str  # for the model card
    encoder: Encoder
    confidence: bool = False
    original: bool = False


def encode(output: str, segmentation: Segmentation, preset: Preset, info: ModelInfo) -> Answer:
    """The answer named `output`, a key of OUTPUTS.

    The segmentation must hold its confidence or its photo where needs_confidence(output) or
    needs_original(output).
    """
    form = OUTPUTS[output]
    return Answer(200, form.media_type, form.encoder(segmentation, preset, info))


def needs_confidence(output: str) -> bool:
    return OUTPUTS[output].confidence


def needs_original(output: str) -> bool:
    return OUTPUTS[output].original


def encode_mask(segmentation: Segmentation, preset: Preset, info: ModelInfo) -> bytes:
    return mask_png(segmentation.mask, preset.palette)


def encode_overlay(segmentation: Segmentation, preset: Preset, info: ModelInfo) -> bytes:
    return overlay_jpeg(_original(segmentation), segmentation.mask, preset.palette)


def encode_json(segmentation: Segmentation, preset: Preset, info: ModelInfo) -> bytes:
    height, width = segmentation.mask.shape
    return json_answer(
        {
            "size": {"width": width, "height": height},
            "model": {"name": info.name, "version": info.version, "digest": info.digest},
            "classes": class_summaries(
                segmentation.mask, _confidence(segmentation), preset.labels, preset.palette
            ),
        }
    ).body


def encode_confidence(segmentation: Segmentation, preset: Preset, info: ModelInfo) -> bytes:
    return grey_png(_confidence(segmentation))


def encode_npy(segmentation: Segmentation, preset: Preset, info: ModelInfo) -> bytes:
    file = io.BytesIO()
    np.save(file, segmentation.mask, allow_pickle=False)
    return file.getvalue()


# In the order of preference where a client takes several at the same weight.
OUTPUTS: Final[dict[str, Output]] = {
    "mask": Output("image/png", "palette PNG; pixel value = class id", encode_mask),
    "overlay": Output(
        "image/jpeg", "the photo with the classes blended in", encode_overlay, original=True
    ),
    "json": Output(
        "application/json",
        "per class: id, label, colour, pixels, fraction, bbox, mean confidence, COCO RLE",
        encode_json,
        confidence=True,
    ),
    "confidence": Output(
        "image/png",
        "8-bit grey PNG; probability of the winning class x 255",
        encode_confidence,
        confidence=True,
    ),
    "npy": Output("application/x-npy", "NumPy array (height, width) of class ids", encode_npy),
}

MEDIA_TYPES: Final[dict[str, str]] = {name: form.media_type for name, form in OUTPUTS.items()}


def _confidence(segmentation: Segmentation) -> npt.NDArray[np.uint8]:
    if segmentation.confidence is None:
        raise ValueError("this output is made of the confidence, which was not computed")
    return segmentation.confidence


def _original(segmentation: Segmentation) -> Image.Image:
    if segmentation.original is None:
        raise ValueError("this output shows the photo, which was not kept")
    return segmentation.original

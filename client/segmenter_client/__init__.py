"""A Python client of the segmentation service: an image in, the class of every pixel out.

    from segmenter_client import segment

    segmentation = segment("photo.jpg", url="http://127.0.0.1:8080/predictions/segmenter")
    segmentation.mask                # uint8 (H, W), a class id for each pixel
    segmentation.classes[0].label    # "road": the classes are sorted by size
    segmentation.overlay().show()    # the photo with the classes blended in

It needs NumPy, Pillow and urllib3, nothing else of this project, and no PyTorch. `AsyncService` is
for asyncio; it needs the extra `async`, and is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segmenter_client.errors import (
    ErrorResponse,
    InvalidResponse,
    NoResponse,
    RequestRefused,
    SegmenterError,
    ServerError,
    Unreachable,
)
from segmenter_client.model_card import InputLimits, ModelCard, ModelClass, OutputFormat
from segmenter_client.segmentation import Segmentation, SegmentedClass, segment
from segmenter_client.service import Service

if TYPE_CHECKING:
    from segmenter_client.async_service import AsyncService as AsyncService

__all__ = [
    "ErrorResponse",
    "InputLimits",
    "InvalidResponse",
    "ModelCard",
    "ModelClass",
    "NoResponse",
    "OutputFormat",
    "RequestRefused",
    "Segmentation",
    "SegmentedClass",
    "SegmenterError",
    "ServerError",
    "Service",
    "Unreachable",
    "segment",
]


def __getattr__(name: str) -> object:
    if name != "AsyncService":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from segmenter_client.async_service import AsyncService
    except ModuleNotFoundError as error:
        raise ImportError(
            f"AsyncService needs {error.name}: pip install 'segmenter-client[async]'"
        ) from error
    return AsyncService

"""A Python client of the service: an image in, the class of every pixel out.

    from segmenter_client import segment

    found = segment("photo.jpg", url="http://127.0.0.1:8080/predictions/segmenter")
    found.mask                       # uint8 (H, W), a class id for each pixel
    found.classes[0].label           # "road": the classes are sorted by size
    found.overlay().show()           # the photo with the classes blended in

It takes requests, NumPy and Pillow, nothing else of this project, and no PyTorch.
"""

from segmenter_client.errors import (
    AnswerError,
    NoAnswer,
    Refused,
    SegmenterError,
    ServiceFailed,
    Unreachable,
)
from segmenter_client.segmentation import Class, Segmentation, segment
from segmenter_client.service import Service

__all__ = [
    "AnswerError",
    "Class",
    "NoAnswer",
    "Refused",
    "Segmentation",
    "SegmenterError",
    "Service",
    "ServiceFailed",
    "Unreachable",
    "segment",
]

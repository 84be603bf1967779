"""Pre-annotation of CVAT tasks: an auto-annotation function of cvat-sdk that asks the service.

    cvat-cli --server-host https://app.cvat.ai task auto-annotate 42 \
        --function-file deploy/cvat/function.py \
        -p url=str:http://127.0.0.1:8080/predictions/segmenter

The interface is cvat_sdk.auto_annotation.DetectionFunction:
https://docs.cvat.ai/docs/api_sdk/sdk/auto-annotation/
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk.masks import encode_mask
from cvat_sdk.models import LabeledShapeRequest
from PIL import Image

from segmenter_client import Service, segment
from segmenter_client.coco import CocoDataset
from segmenter_client.images import image_bytes
from segmenter_client.responses import parse

TOKEN_VARIABLE: Final = "SEGMENTER_TOKEN"  # the gateway's; arguments are visible in ps


def create(
    url: str = "http://127.0.0.1:8080/predictions/segmenter", certificate: str | None = None
) -> ServiceFunction:
    """The function of the service at `url`; `certificate` is the file (PEM) of one to trust.

    Raises a SegmenterError where the service cannot be reached.
    """
    verify = True if certificate is None else Path(certificate)
    return ServiceFunction(Service(url, token=os.environ.get(TOKEN_VARIABLE), verify=verify))


class ServiceFunction:
    """A cvat-sdk detection function. `spec` has the model's classes but void, by their ids.

    A class in an image is one mask, which excludes those of the others.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        card = service.model()
        self._void = card.void
        self.spec = cvataa.DetectionFunctionSpec(
            labels=[
                cvataa.label_spec(entry.label, entry.id, type="mask")
                for entry in card.classes
                if entry.id != card.void
            ]
        )

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: Image.Image
    ) -> list[LabeledShapeRequest]:
        """The classes whose mean probability is at least `context.conf_threshold`.

        As masks, or as polygons if `context.conv_mask_to_poly`. Raises a SegmenterError.
        """
        least = context.conf_threshold or 0.0
        if context.conv_mask_to_poly:
            return self._polygons(image, least)
        return self._masks(image, least)

    def _masks(self, image: Image.Image, least: float) -> list[LabeledShapeRequest]:
        segmentation = segment(image, service=self._service)
        return [
            cvataa.mask(entry.id, encode_mask(segmentation.mask == entry.id))
            for entry in segmentation.classes
            if entry.id != self._void and entry.confidence >= least
        ]

    def _polygons(self, image: Image.Image, least: float) -> list[LabeledShapeRequest]:
        """One for each region; a hole is joined to its region by a cut of zero width."""
        body = self._service.predict(image_bytes(image), "coco-polygons")
        dataset: CocoDataset = parse(body, json.loads)
        class_ids = {entry["id"]: entry["class_id"] for entry in dataset["categories"]}
        return [
            cvataa.polygon(class_ids[annotation["category_id"]], points)
            for annotation in dataset["annotations"]
            if annotation["score"] >= least
            for points in annotation["segmentation"]  # type: ignore[attr-defined]
        ]

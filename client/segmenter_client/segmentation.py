"""An image's segmentation, as Python values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from segmenter_client.image_responses import ImageResponses
from segmenter_client.images import ImageLike, image_bytes, png_bytes
from segmenter_client.legend import with_legend
from segmenter_client.responses import ClassEntry, Summary, parse, picture
from segmenter_client.rle import paint
from segmenter_client.service import Service

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class SegmentedClass:
    """One class in an image."""

    id: int  # the value of its pixels in the mask
    label: str
    colour: tuple[int, int, int]  # RGB, 0..255
    pixels: int
    fraction: float  # of the image, 0..1
    bbox: tuple[int, int, int, int]  # x, y, width, height, px
    confidence: float  # mean probability over the class's pixels, 0..1


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The classes of an image's pixels. H and W are those of the image turned upright by its EXIF.

    Where pixels are void, void is one of the classes. `overlay` and `confidence` each send another
    request with the same options at their first call, and raise what `segment` raises.
    """

    mask: npt.NDArray[np.integer]  # (H, W) class ids: uint8, or uint16 where an id is over 255
    classes: tuple[SegmentedClass, ...]  # those in the mask, largest first
    model: Mapping[str, str]  # name, version, digest (SHA-256 of the weights)
    responses: ImageResponses = field(repr=False)  # all that the service says about the image

    def overlay(self) -> Image.Image:
        """The photo with the classes blended in: RGB, H x W."""
        return parse(self.responses["overlay"], picture)

    def confidence(self) -> npt.NDArray[np.uint8]:
        """(H, W): probability of each pixel's class x 255."""
        return np.array(parse(self.responses["confidence"], picture), np.uint8)

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each class, largest first, by its id; needs pandas.

        Columns: label, pixels, fraction and confidence (0..1), x, y, width, height (px), and red,
        green, blue (0..255).
        """
        import pandas

        rows = [
            {
                "id": entry.id,
                "label": entry.label,
                "pixels": entry.pixels,
                "fraction": entry.fraction,
                "confidence": entry.confidence,
                **dict(zip(("x", "y", "width", "height"), entry.bbox)),
                **dict(zip(("red", "green", "blue"), entry.colour)),
            }
            for entry in self.classes
        ]
        return pandas.DataFrame(rows).set_index("id")

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the overlay and its legend."""
        return png_bytes(with_legend(self.overlay(), self.classes))


def segment(
    image: ImageLike,
    *,
    url: str | None = None,
    token: str | None = None,
    service: Service | None = None,
    classes: Sequence[str | int] | None = None,
    threshold: float | None = None,
) -> Segmentation:
    """The segmentation of one image, in one request.

    Give `url`, and `token` where a gateway needs one; or a Service, for many images, a certificate
    or another timeout. `classes`, labels or ids, makes the pixels of all others void; `threshold`,
    0..1, those whose class is less probable. Raises a SegmenterError, OSError for a file that
    cannot be read, ValueError for an array that is not an image and for classes that no header can
    carry, TypeError for what is no image at all.
    """
    if service is not None and url is None:
        predict = partial(service.predict, classes=classes, threshold=threshold)
    elif url is not None and service is None:
        connect = partial(Service, url, token=token)
        predict = partial(predict_once, connect, classes=classes, threshold=threshold)
    else:
        raise TypeError("give either url or service")
    return segmentation_of(ImageResponses(image_bytes(image), predict))


def segmentation_of(responses: ImageResponses) -> Segmentation:
    """What the response in the format `json` says. Raises a SegmenterError."""
    mask, found, model = parse(responses["json"], parse_summary)
    return Segmentation(mask, found, model, responses)


def predict_once(
    connect: Callable[[], Service],
    image: bytes,
    output_format: str,
    *,
    classes: Sequence[str | int] | None,
    threshold: float | None,
) -> bytes:
    """Service.predict by a Service of its own: the connection is closed afterwards.

    A program may keep thousands of segmentations; each would keep its connection open.
    """
    with connect() as service:
        return service.predict(image, output_format, classes=classes, threshold=threshold)


def parse_summary(
    body: bytes,
) -> tuple[npt.NDArray[np.integer], tuple[SegmentedClass, ...], dict[str, str]]:
    """Mask (H, W), classes and model of a response in the format `json`."""
    summary: Summary = json.loads(body)
    return _mask(summary), tuple(map(_class, summary["classes"])), summary["model"]


def _mask(summary: Summary) -> npt.NDArray[np.integer]:
    height, width = summary["size"]["height"], summary["size"]["width"]
    largest = max(entry["id"] for entry in summary["classes"])
    mask = np.zeros((width, height), np.uint8 if largest < 256 else np.uint16).T  # column-major
    for entry in summary["classes"]:
        paint(mask, entry["rle"]["counts"], entry["id"])
    return np.ascontiguousarray(mask)


def _class(entry: ClassEntry) -> SegmentedClass:
    red, green, blue = entry["colour"]
    x, y, width, height = entry["bbox"]
    return SegmentedClass(
        id=entry["id"],
        label=entry["label"],
        colour=(red, green, blue),
        pixels=entry["pixels"],
        fraction=entry["fraction"],
        bbox=(x, y, width, height),
        confidence=entry["confidence"],
    )

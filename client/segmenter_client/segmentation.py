"""An image's segmentation, as Python values."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from segmenter_client.errors import AnswerError
from segmenter_client.rle import paint
from segmenter_client.service import Service

# A file's path or content; or pixels, which travel as PNG: a PIL image, or uint8 (H, W) grey,
# (H, W, 3) RGB or (H, W, 4) RGBA.
ImageLike: TypeAlias = "str | PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]"

# Pillow's modes that it writes as PNG.
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


@dataclass(frozen=True)
class Class:
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
    """What the service found. H and W are those of the image turned upright by its EXIF data.

    Void, where pixels were made void, is one of the classes. `overlay` and `confidence` ask the
    service once more, in the same way, and raise what `segment` raises.
    """

    mask: npt.NDArray[np.integer]  # (H, W) class ids: uint8, or uint16 where an id is over 255
    classes: tuple[Class, ...]  # those in the mask, largest first
    model: Mapping[str, str]  # name, version, digest (SHA-256 of the weights)
    image: bytes  # as it was sent
    ask: Callable[[bytes, str], bytes]  # the service: an image and an output's name to the answer

    def overlay(self) -> Image.Image:
        """The photo with the classes blended in: RGB, H x W."""
        return _picture(self.ask(self.image, "overlay"))

    def confidence(self) -> npt.NDArray[np.uint8]:
        """(H, W): probability of the winning class x 255."""
        return np.array(_picture(self.ask(self.image, "confidence")), np.uint8)


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

    Give `url`, and `token` where a gateway asks for one; or a Service, for many images, a
    certificate or a timeout of your own. `classes`, labels or ids, makes the pixels of all others
    void; `threshold`, 0..1, those whose class is less probable. Raises a SegmenterError, OSError
    for a file that cannot be read, ValueError for an array that is no image and for classes that
    cannot be sent.
    """
    if (url is None) == (service is None):
        raise TypeError("give either url or service")
    if service is None:
        assert url is not None
        ask = partial(ask_once, url, token, classes=classes, threshold=threshold)
    else:
        ask = partial(service.ask, classes=classes, threshold=threshold)
    body = image_bytes(image)
    answer = ask(body, "json")
    try:
        document = json.loads(answer)
        mask = _mask(document)
        found = tuple(_class(entry) for entry in document["classes"])
        return Segmentation(mask, found, document["model"], body, ask)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise AnswerError(f"not a segmentation: {answer[:80]!r}") from error


def ask_once(
    url: str,
    token: str | None,
    image: bytes,
    output: str,
    *,
    classes: Sequence[str | int] | None,
    threshold: float | None,
) -> bytes:
    """As Service.ask, by a connection that is closed then: results are kept by the thousand."""
    with Service(url, token=token) as service:
        return service.ask(image, output, classes=classes, threshold=threshold)


def image_bytes(image: ImageLike) -> bytes:
    """An image file's bytes. Files are sent as they are, EXIF and all; pixels as PNG."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, PathLike)):
        return Path(image).read_bytes()
    if isinstance(image, np.ndarray):
        colours = image.shape[2:] in ((), (3,), (4,)) and image.ndim in (2, 3)
        if image.dtype != np.uint8 or not colours or not image.size:
            raise ValueError(
                f"an image is uint8 (H, W), (H, W, 3) or (H, W, 4), not {image.dtype} {image.shape}"
            )
        image = Image.fromarray(image)
    if image.mode == "F":
        raise ValueError("a picture of mode F does not say which of its values is white")
    if image.mode not in PNG_MODES:
        image = image.convert("I;16" if image.mode == "I" else "RGB")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _mask(document: Mapping[str, Any]) -> npt.NDArray[np.integer]:
    """Every pixel belongs to one of the classes, void among them."""
    height, width = document["size"]["height"], document["size"]["width"]
    largest = max(entry["id"] for entry in document["classes"])
    mask = np.zeros((width, height), np.uint8 if largest < 256 else np.uint16).T  # column-major
    for entry in document["classes"]:
        paint(mask, entry["rle"]["counts"], entry["id"])
    return np.ascontiguousarray(mask)


def _class(entry: Mapping[str, Any]) -> Class:
    red, green, blue = entry["colour"]
    x, y, width, height = entry["bbox"]
    return Class(
        id=entry["id"],
        label=entry["label"],
        colour=(red, green, blue),
        pixels=entry["pixels"],
        fraction=entry["fraction"],
        bbox=(x, y, width, height),
        confidence=entry["confidence"],
    )


def _picture(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except OSError as error:
        raise AnswerError(f"not a picture: {data[:80]!r}") from error
    return picture

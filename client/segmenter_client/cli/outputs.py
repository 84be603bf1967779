"""One image in several output formats: the requests, and the files written of them."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

import numpy as np
import numpy.typing as npt

from segmenter_client.cli.inputs import InputImage, read_image
from segmenter_client.formats import FILE_SUFFIXES
from segmenter_client.responses import Summary, parse, picture
from segmenter_client.service import Service

# Both come from one request in the format `kserve`: it has the PNG, and the labels of its classes.
MASK_FORMATS: Final = ("mask", "npy")


@dataclass(frozen=True)
class ImageOutputs:
    """Content by output format, and the image's pixels by class label.

    No pixels are known where neither mask, npy nor json is among the formats.
    """

    contents: dict[str, bytes]
    pixels: dict[str, int]


@dataclass(frozen=True)
class LabelledMask:
    png: bytes
    ids: npt.NDArray[np.integer]  # (H, W)
    labels: dict[int, str]  # of the classes in the mask

    def npy(self) -> bytes:
        """As the service's own format `npy`: uint8, or int32 beyond 256 classes."""
        file = io.BytesIO()
        ids = self.ids if self.ids.dtype == np.uint8 else self.ids.astype(np.int32)
        np.save(file, ids, allow_pickle=False)
        return file.getvalue()

    def pixels(self) -> dict[str, int]:
        counts = np.bincount(self.ids.ravel())
        return {label: int(counts[class_id]) for class_id, label in self.labels.items()}


def write_outputs(
    image: InputImage, service: Service, output_formats: Sequence[str]
) -> ImageOutputs | None:
    """Write the outputs of an image that do not exist yet; None if all exist.

    A file appears under its name when it is complete. Raises SegmenterError or OSError.
    """
    targets = {name: output_path(image, name) for name in output_formats}
    missing = [name for name, target in targets.items() if not target.exists()]
    if not missing:
        return None
    outputs = request_outputs(service, read_image(image.source), missing)
    image.target.parent.mkdir(parents=True, exist_ok=True)
    for name, content in outputs.contents.items():
        write_atomically(targets[name], content)
    return outputs


def output_path(image: InputImage, output_format: str) -> Path:
    return image.target.with_name(image.target.name + FILE_SUFFIXES[output_format])


def write_atomically(path: Path, content: bytes) -> None:
    # Always the same temporary name: the next run overwrites what a killed one left behind.
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def request_outputs(service: Service, image: bytes, output_formats: Sequence[str]) -> ImageOutputs:
    """An image file in each of the formats, in few requests. Raises SegmenterError."""
    contents = {
        name: service.predict(image, name) for name in output_formats if name not in MASK_FORMATS
    }
    pixels: dict[str, int] = {}
    if any(name in MASK_FORMATS for name in output_formats):
        mask = parse(service.predict(image, "kserve"), parse_kserve)
        pixels = mask.pixels()
        if "mask" in output_formats:
            contents["mask"] = mask.png
        if "npy" in output_formats:
            contents["npy"] = mask.npy()
    if "json" in contents:
        pixels = parse(contents["json"], parse_pixels)
    return ImageOutputs(contents, pixels)


def parse_pixels(body: bytes) -> dict[str, int]:
    """The pixels by class label of a response in the format `json`."""
    summary: Summary = json.loads(body)
    return {entry["label"]: entry["pixels"] for entry in summary["classes"]}


class KServeMask(TypedDict):
    b64: str


class KServeClass(TypedDict):
    id: int
    label: str


class KServePrediction(TypedDict):
    mask: KServeMask
    classes: list[KServeClass]


def parse_kserve(body: bytes) -> LabelledMask:
    """The mask of a response in the format `kserve`."""
    predictions: list[KServePrediction] = json.loads(body)["predictions"]
    (prediction,) = predictions
    png = base64.b64decode(prediction["mask"]["b64"])
    labels = {entry["id"]: entry["label"] for entry in prediction["classes"]}
    return LabelledMask(png, np.asarray(picture(png)), labels)

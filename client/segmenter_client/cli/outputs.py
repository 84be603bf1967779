"""One image in several output formats: one request, and the files written of its response."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import numpy as np
import numpy.typing as npt

from segmenter_client.cli.inputs import InputImage
from segmenter_client.cli.sources import read_image
from segmenter_client.formats import FILE_SUFFIXES
from segmenter_client.model_card import ModelCard
from segmenter_client.responses import Summary, parse, picture
from segmenter_client.service import Service

# Formats that say which classes an image has, the most informative first.
FORMATS_WITH_CLASSES: Final = ("json", "mask", "npy")

MAX_NAME: Final = 255  # characters of an image's name

# Tries and seconds between them: on Windows a virus scanner may have a new file open.
REPLACE_TRIES: Final = 5
REPLACE_PAUSE: Final = 0.1


@dataclass(frozen=True)
class ClassFigures:
    """A class in an image."""

    label: str
    pixels: int
    share: float  # of the image, 0..1
    confidence: float | None  # mean probability, 0..1; None where it was not requested


@dataclass(frozen=True)
class ImageOutputs:
    """Content by output format, and the image's classes.

    No classes are known where none of FORMATS_WITH_CLASSES was requested.
    """

    contents: dict[str, bytes]
    classes: tuple[ClassFigures, ...]


def missing_outputs(image: InputImage, output_formats: Sequence[str]) -> list[str]:
    """The formats of which the image has no file yet."""
    # A name that is too long for a file makes Path.exists raise.
    return [name for name in output_formats if not os.path.exists(output_path(image, name))]


def write_outputs(
    image: InputImage,
    service: Service,
    model: ModelCard,
    output_formats: Sequence[str],
    *,
    with_figures: bool,
) -> ImageOutputs:
    """Request the image's missing outputs, and write them.

    `with_figures` requests the classes' confidences, too. A file appears under its name when it is
    complete. Raises SegmenterError or OSError.
    """
    missing = missing_outputs(image, output_formats)
    requested = list(dict.fromkeys([*missing, *(["json"] if with_figures else [])]))
    content = read_image(image.name, model.limits.max_bytes)
    outputs = request_outputs(service, model, content, requested, wire_name(image.path))
    image.target.parent.mkdir(parents=True, exist_ok=True)
    for name in missing:
        write_atomically(output_path(image, name), outputs.contents[name])
    return outputs


def output_path(image: InputImage, output_format: str) -> Path:
    return image.target.with_name(image.target.name + FILE_SUFFIXES[output_format])


def write_atomically(path: Path, content: bytes) -> None:
    # Always the same temporary name: the next run overwrites what a killed one left behind.
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    for tries in range(REPLACE_TRIES):
        try:
            os.replace(part, path)
            return
        except PermissionError:
            if tries + 1 == REPLACE_TRIES:
                raise
            time.sleep(REPLACE_PAUSE)


def request_outputs(
    service: Service,
    model: ModelCard,
    image: bytes,
    output_formats: Sequence[str],
    name: str | None,
) -> ImageOutputs:
    """An image file in each of the formats, in one request. Raises SegmenterError."""
    contents = service.predict_all(image, output_formats, name=name)
    known = next((name for name in FORMATS_WITH_CLASSES if name in contents), None)
    if known is None:
        return ImageOutputs(contents, ())
    if known == "json":
        return ImageOutputs(contents, parse(contents["json"], figures_of_json))
    ids = parse(contents[known], ids_of_png if known == "mask" else ids_of_npy)
    return ImageOutputs(contents, figures_of_mask(ids, model))


def wire_name(path: PurePath) -> str | None:
    """An image's path as the service takes it for a name in COCO; None if it would refuse it."""
    name = path.as_posix()
    is_path_below = "\\" not in name and not {"", ".", ".."} & set(name.split("/"))
    return name if is_path_below and len(name) <= MAX_NAME and name.isprintable() else None


def figures_of_json(body: bytes) -> tuple[ClassFigures, ...]:
    """The classes of a response in the format `json`."""
    summary: Summary = json.loads(body)
    return tuple(
        ClassFigures(
            entry["label"], entry["pixels"], float(entry["fraction"]), float(entry["confidence"])
        )
        for entry in summary["classes"]
    )


def figures_of_mask(ids: npt.NDArray[np.integer], model: ModelCard) -> tuple[ClassFigures, ...]:
    """The classes of a mask, (H, W) class ids, largest first."""
    counts = np.bincount(ids.ravel())
    largest_first = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return tuple(
        ClassFigures(model.label(index), int(counts[index]), counts[index] / ids.size, None)
        for index in largest_first.tolist()
    )


def ids_of_png(body: bytes) -> npt.NDArray[np.integer]:
    return np.asarray(picture(body))


def ids_of_npy(body: bytes) -> npt.NDArray[np.integer]:
    ids: npt.NDArray[np.integer] = np.load(io.BytesIO(body), allow_pickle=False)
    return ids

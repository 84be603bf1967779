"""The photos that a network is calibrated with and measured on, with masks or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from imaging import ImageError, decode_image, fit_size, resize
from model.normalization import normalize
from model.preset import Preset
from scripts.training.dataset import DataError, Frame, find_frames

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

Item = TypeVar("Item")


@dataclass(frozen=True)
class Photo:
    """A photo's file; as a frame, if there is a mask of it."""

    file: Path
    frame: Frame | None


def find_photos(folder: Path) -> list[Photo]:
    """Labelled ones where the folder has images/ and masks/, else those in the folder itself.

    Sorted by name. Raises DataError if there are none.
    """
    if (folder / "images").is_dir():
        return [Photo(frame.image, frame) for frame in find_frames(folder)]
    files = sorted(p for p in folder.glob("[!.]*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise DataError(f"{folder} holds neither photos nor the folders images/ and masks/")
    return [Photo(file, None) for file in files]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of the items, evenly spaced: neighbours in a video resemble each other."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def network_input(photo: Photo, preset: Preset) -> Tensor:
    """The photo as the network reads it: fp32 (1, 3, h, w), normalised. Raises DataError."""
    try:
        image = decode_image(photo.file.read_bytes())
    except ImageError as error:
        raise DataError(f"{photo.file}: {error.message}") from error
    pixels = resize(image, fit_size(*image.size, preset.short_side))
    return normalize(pixels[None], preset.mean, preset.std)

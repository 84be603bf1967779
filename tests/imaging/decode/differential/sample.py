"""A generated image file, and what is right about it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]  # (H, W, 3), RGB


@dataclass(frozen=True)
class Sample:
    name: str
    data: bytes
    right: Pixels | None  # None: only the other readers tell
    bound: int = 0  # levels by which a right value may be missed


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def over_white(colours: npt.NDArray[np.integer], alpha: npt.NDArray[np.floating]) -> Pixels:
    """(H, W, 3), 0..255, and (H, W), 0..1 -> rounded."""
    weight = alpha[..., None]
    return np.rint(weight * colours + (1 - weight) * 255).astype(np.uint8)


def smooth_photo(width: int, height: int) -> Image.Image:
    """Colours that survive lossy codecs: ramps and a few blobs."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)

"""Small pictures that the tests draw, and files that lie about themselves."""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """RGB, smooth and colourful: enough for random weights to see several classes."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, image_format: str, **options: object) -> bytes:
    """The picture as a file of one of Pillow's formats."""
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A small PNG whose header, checksum and all, claims these sides."""
    data = bytearray(encoded(photo(8, 8), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def agreement(mask: np.ndarray, other: np.ndarray) -> float:
    """Share of equal pixels, 0..1: for masks from batches of other sizes.

    There the products are added in another order, so that a pixel between two classes may tip,
    more of them in bf16; the mask of another photo agrees by chance only, in far fewer.
    """
    return float((mask == other).mean()) if mask.shape == other.shape else 0.0

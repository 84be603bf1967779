"""Pixels that a client sends as they are, in place of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.decode.budget import PixelBudget
from imaging.decode.decoder import DecodedImage
from imaging.decode.limits import Limits, check_size


@contextmanager
def image_of_pixels(
    pixels: npt.NDArray[np.uint8], limits: Limits, budget: PixelBudget
) -> Iterator[DecodedImage]:
    """(H, W, 3), RGB -> the image, holding a share of the budget to the end of the block.

    The counterpart of `decoded_image` for a file. Raises ImageTooLarge.
    """
    height, width, _ = pixels.shape
    check_size((width, height), limits)
    with budget.spend(width * height):
        yield DecodedImage(Image.fromarray(pixels))

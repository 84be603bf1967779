"""Other people's decoders, each asked for what it shows on a white page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import pyvips

from tests.imaging.decode.differential.sample import Pixels, over_white

Reader = Callable[[bytes], Pixels]

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # of files that it does not read


def read_by_opencv(data: bytes) -> Pixels:
    """Raises ValueError for what it does not read."""
    array = np.frombuffer(data, np.uint8)
    found = cv2.imdecode(array, cv2.IMREAD_UNCHANGED)
    if found is None:
        raise ValueError("OpenCV reads no such file")
    stored = np.asarray(found, np.uint16 if found.dtype == np.uint16 else np.uint8)
    if stored.ndim == 3 and stored.shape[2] == 4:
        levels = (stored >> 8 if stored.dtype == np.uint16 else stored).astype(np.uint8)
        return over_white(levels[..., 2::-1], levels[..., 3] / 255)
    upright = cv2.imdecode(array, cv2.IMREAD_COLOR_RGB)  # turned by EXIF, which the other is not
    return np.asarray(upright, np.uint8)


def read_by_libvips(data: bytes) -> Pixels:
    """Raises ValueError for what it does not read."""
    try:
        image = pyvips.Image.new_from_buffer(data, "").autorot()
        if image.get_typeof("icc-profile-data"):
            image = image.icc_transform("srgb", embedded=True, black_point_compensation=True)
        image = image.colourspace("srgb")
        if image.hasalpha():
            image = image.flatten(background=255)
        return np.asarray(image.cast("uchar").numpy()[..., :3], np.uint8)
    except pyvips.Error as error:
        raise ValueError("libvips reads no such file") from error


READERS: Final[dict[str, Reader]] = {"OpenCV": read_by_opencv, "libvips": read_by_libvips}

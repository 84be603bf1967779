"""Pixels of which a TIFF says that they hold nothing.

GDAL writes the value that stands for nothing as text in a tag of its own, and leaves out pieces in
which there is nothing else: https://gdal.org/en/stable/drivers/raster/gtiff.html
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from imaging.decode.tiff.directory import TiffDirectory

GDAL_NODATA: Final = 42113
MAX_CHARACTERS: Final = 64  # of a number


def read_no_data(directory: TiffDirectory, dtype: np.dtype[np.generic]) -> np.generic | None:
    """The value that stands for nothing, as samples hold it; None if there is none.

    A value that no sample can have, such as -9999 among unsigned integers, stands for nothing.
    """
    text = directory.raw_bytes(GDAL_NODATA, MAX_CHARACTERS).split(b"\0")[0]
    try:
        value = float(text.decode("ascii"))
    except ValueError:
        return None
    if dtype.kind != "f":
        limits = np.iinfo(dtype.str)
        if not value.is_integer() or not limits.min <= value <= limits.max:
            return None
    with np.errstate(over="ignore"):
        stored: np.generic = dtype.type(value)
    return stored


def valid_pixels(
    colours: npt.NDArray[np.generic],
    no_data: np.generic | None,
    written: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.bool_] | None:
    """(H, W, C) -> (H, W), False where all colours are `no_data` or no number, or not written.

    None where all pixels are valid.
    """
    missing: npt.NDArray[np.bool_] | None = None if written is None else ~written
    if no_data is not None or colours.dtype.kind == "f":
        empty = np.ones(colours.shape[:2], np.bool_)
        for channel in np.moveaxis(colours, -1, 0):
            is_empty = np.isnan(channel) if channel.dtype.kind == "f" else np.False_
            empty &= is_empty if no_data is None else (is_empty | (channel == no_data))
        missing = empty if missing is None else missing | empty
    return None if missing is None or not missing.any() else ~missing

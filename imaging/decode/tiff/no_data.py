"""Pixels of which a TIFF says that they hold nothing.

GDAL writes the value that stands for nothing as text in a tag of its own, and leaves out pieces in
which there is nothing else: https://gdal.org/en/stable/drivers/raster/gtiff.html
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from imaging.decode.tiff.directory import TiffDirectory
from imaging.pixel_array import STRIP_ROWS

GDAL_NODATA: Final = 42113
MAX_CHARACTERS: Final = 64  # of a number

# Of the value, for floats: six digits of it, rounded or cut off, as in -3.40282e+38 for the lowest
# of 32 bits, which is 1e-6 off. GDAL's own tolerance (ARE_REAL_EQUAL) is 5e-7.
TOLERANCE: Final = 1e-5


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
    valid = np.ones(colours.shape[:2], np.bool_) if written is None else written.copy()
    if no_data is not None or colours.dtype.kind == "f":
        for top in range(0, len(colours), STRIP_ROWS):
            rows = slice(top, top + STRIP_ROWS)
            valid[rows] &= ~_is_empty(colours[rows], no_data).all(axis=-1)
    return None if valid.all() else valid


def _is_empty(values: npt.NDArray[np.generic], no_data: np.generic | None) -> npt.NDArray[np.bool_]:
    """Where values of any shape are `no_data`, or no number."""
    if values.dtype.kind != "f":
        return np.asarray(values == no_data)
    is_empty: npt.NDArray[np.bool_] = np.isnan(values)
    if no_data is not None:
        lowest, highest = _around(float(no_data), values.dtype)
        is_empty |= (values >= lowest) & (values <= highest)
    return is_empty


def _around(value: float, dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """The lowest and the highest number, of the type of floats, that are taken for the value."""
    if not np.isfinite(value):
        return np.array([value, value], dtype)
    limits = np.finfo(dtype.str)
    margin = TOLERANCE * abs(value)
    return np.clip([value - margin, value + margin], limits.min, limits.max).astype(dtype)

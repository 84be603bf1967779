"""Numbers of any type and range -> the 8 bits of a picture."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from imaging.pixel_array import STRIP_ROWS

# Cameras and satellites write 10 to 14 bits into 16 and do not always say so, programs even 8: read
# by its high byte alone such a picture is nearly black.
MIN_USED_BITS: Final = 8
MAX_USED_BITS: Final = 14


def to_8_bits(
    values: npt.NDArray[np.generic],
    bits: int,
    valid: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """(H, W) or (H, W, C) -> the same shape. Pixels that are not `valid`, (H, W), do not count.

    Of unsigned integers of up to 16 bits, of which `bits` are declared, the high byte is taken;
    where 16 are declared and all values fit into 14 or fewer, of those. Values of other types are
    stretched: white is 1 if all lie in 0..1, as is usual for floats, else the largest.
    """
    if values.dtype not in (np.uint8, np.uint16):
        return _stretched(values, valid)
    if bits == 16:
        used = int(values.max(initial=0, where=_as_where(valid, values))).bit_length()
        bits = max(used, MIN_USED_BITS) if used <= MAX_USED_BITS else 16
    return high_byte(values, bits)


def high_byte(values: npt.NDArray[np.generic], bits: int) -> npt.NDArray[np.uint8]:
    """Unsigned integers of `bits` each, of any shape -> the highest 8 of them.

    Fewer bits fill the range; larger values become 255.
    """
    if bits < 8:
        table: npt.NDArray[np.uint8] = np.rint(
            np.arange(1 << bits) * (255 / ((1 << bits) - 1))
        ).astype(np.uint8)
        return table.take(values.astype(np.uint8, copy=False))
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    result = np.empty(values.shape, np.uint8)
    shift = values.dtype.type(bits - 8)
    for top in range(0, len(values), STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        result[rows] = np.minimum(np.right_shift(values[rows], shift), 255)
    return result


def _stretched(
    values: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.uint8]:
    black, white = np.inf, -np.inf
    strips = [slice(top, top + STRIP_ROWS) for top in range(0, len(values), STRIP_ROWS)]
    for rows in strips:
        levels = _finite(values[rows])
        where = ~np.isnan(levels)
        if valid is not None:
            where &= _as_where(valid[rows], levels)
        black = min(black, float(levels.min(initial=np.inf, where=where)))
        white = max(white, float(levels.max(initial=-np.inf, where=where)))
    if black >= 0 and white <= 1:
        black, white = 0.0, 1.0
    result = np.empty(values.shape, np.uint8)
    for rows in strips:
        levels = _finite(values[rows])
        with np.errstate(over="ignore", invalid="ignore"):
            levels = (levels - np.float32(black)) * np.float32(255 / ((white - black) or 1))
        levels[np.isnan(levels)] = 0
        result[rows] = np.rint(levels.clip(0, 255)).astype(np.uint8)
    return result


def _finite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """As 32-bit floats; infinity is 0."""
    with np.errstate(over="ignore"):
        levels = values.astype(np.float32)
    levels[np.isinf(levels)] = 0
    return levels


def _as_where(
    valid: npt.NDArray[np.bool_] | None, values: npt.NDArray[np.generic]
) -> npt.NDArray[np.bool_] | bool:
    """`valid` in the shape that it has to have beside `values`."""
    if valid is None:
        return True
    return valid if values.ndim == valid.ndim else np.broadcast_to(valid[..., None], values.shape)

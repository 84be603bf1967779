"""The numbers of a TIFF's bands -> a picture of 8 bits a channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.colour.levels import high_byte, to_8_bits
from imaging.decode.tiff import codes
from imaging.decode.tiff.bands import Bands, is_transparency
from imaging.decode.tiff.codes import unsupported
from imaging.decode.tiff.directory import TiffDirectory
from imaging.pixel_array import STRIP_ROWS


def make_picture(
    values: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_] | None,
    bits: int,
    bands: Bands,
    directory: TiffDirectory,
) -> Image.Image:
    """(H, W, C), the channels of `bands` -> mode L, RGB or CMYK, or L or RGB with alpha.

    `bits` are those of a sample; pixels that are not `valid`, (H, W), do not count for the range.
    """
    count = len(bands.colours)
    alpha = None if bands.alpha is None else _share(values[..., count], bits)
    if bands.photometric == codes.PALETTE:
        return _image(_coloured(values[..., 0], bits, directory), alpha, premultiplied=False)
    if bands.photometric == codes.CMYK:
        inks = _share(values[..., :count], bits)
        if alpha is not None and not bands.premultiplied:  # the paper is white: no ink
            inks = _thinned(inks, alpha)
        return _from_array("CMYK", inks)
    levels = to_8_bits(values[..., :count], bits, valid)
    if bands.photometric == codes.WHITE_IS_ZERO:
        levels = 255 - levels
    if alpha is not None and count == 3 and not is_transparency(alpha, levels, bands):
        alpha = None
    return _image(levels, alpha, premultiplied=bands.premultiplied)


def _image(
    levels: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8] | None, *, premultiplied: bool
) -> Image.Image:
    """(H, W, 1 or 3) and (H, W) -> an image."""
    mode = "L" if levels.shape[-1] == 1 else "RGB"
    if alpha is None:
        return _from_array(mode, levels)
    channels = np.concatenate((levels, alpha[..., None]), axis=2)
    return _from_array(mode + ("a" if premultiplied else "A"), channels)


def _from_array(mode: str, channels: npt.NDArray[np.uint8]) -> Image.Image:
    height, width, _ = channels.shape
    data = np.ascontiguousarray(channels)
    return Image.frombuffer(mode, (width, height), data, "raw", mode, 0, 1)


def _share(values: npt.NDArray[np.generic], bits: int) -> npt.NDArray[np.uint8]:
    """Opacity or ink, 0 to the greatest number of the type or 1.0 -> 0 to 255."""
    if values.dtype.kind == "u":
        return high_byte(values, bits)
    if values.dtype.kind == "i":
        whole = float(np.iinfo(values.dtype.str).max)
    else:  # some programs write 0 to 255
        largest = (float(_finite(values[rows]).max(initial=0)) for rows in _strips(values))
        whole = max(1.0, *largest)
    levels = np.empty(values.shape, np.uint8)
    for rows in _strips(values):
        shares = _finite(values[rows]) / np.float32(whole)
        levels[rows] = np.rint(shares.clip(0, 1) * 255).astype(np.uint8)
    return levels


def _finite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.nan_to_num(values.astype(np.float32))


def _thinned(inks: npt.NDArray[np.uint8], opacity: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H, W, 4), (H, W) -> the inks as they are on white paper."""
    result = np.empty(inks.shape, np.uint8)
    for rows in _strips(inks):
        result[rows] = (inks[rows] * (opacity[rows, :, None] / np.float32(255))).astype(np.uint8)
    return result


def _strips(values: npt.NDArray[np.generic]) -> list[slice]:
    """Of a few rows each, so that temporary copies stay small."""
    return [slice(top, top + STRIP_ROWS) for top in range(0, len(values), STRIP_ROWS)]


def _coloured(
    indices: npt.NDArray[np.generic], bits: int, directory: TiffDirectory
) -> npt.NDArray[np.uint8]:
    """(H, W) -> (H, W, 3) by the file's palette."""
    if indices.dtype.kind != "u" or bits > 16:
        raise unsupported(f"with a palette for samples of {bits} bits")
    entry = directory.layout.get(tags.COLORMAP)
    if entry is None or entry.num_values != 3 << bits:
        raise ValueError("no palette, or one of another size")
    colours = directory.values(entry).reshape(3, -1).T
    # Palettes have 16 bits, in files of old programs 8.
    palette = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
    pixels = np.empty((*indices.shape, 3), np.uint8)
    for rows in _strips(indices):
        pixels[rows] = palette[indices[rows].astype(np.intp)]
    return pixels

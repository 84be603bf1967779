"""The samples of a PNG that Pillow does not give as they are: 16 bits, and transparent colours.

Of 16 bits a channel Pillow keeps the high byte, which is enough for most pictures: not for dark
ones, whose light is stored in proportion (gAMA 1), and not for cameras' 10 to 14 bits.
"""

from __future__ import annotations

from typing import Final, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from imaging.colour.encoding import ColourEncoding, encoding_of
from imaging.colour.levels import MAX_USED_BITS, MIN_USED_BITS
from imaging.decode.deadline import TimedFile
from imaging.decode.png.colour import significant_bits
from imaging.decode.png.structure import GREY, GREY_ALPHA, RGB, PngStructure
from imaging.pixel_array import STRIP_ROWS

# Pillow's names of layouts with as many bits a pixel as the file's, by which its filters go: the
# low bytes are read as high bytes of the other order. Of grey with alpha all four bytes are.
OTHER_LAYOUT: Final = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}

EIGHT: Final = np.uint16(8)  # bits


def eight_bit_image(
    image: PngImageFile, png: PngStructure, encoding: ColourEncoding | None, file: TimedFile
) -> tuple[Image.Image, ColourEncoding | None]:
    """A loaded image -> one of 8 bits a channel, and the encoding that its colours then have."""
    key = image.info.get("transparency")
    if png.bits < 16:
        if png.colour_type == GREY and png.bits in (2, 4) and isinstance(key, int):
            image.info["transparency"] = key * 255 // ((1 << png.bits) - 1)
        return image, encoding
    bits = _used_bits(image, png)
    table = _table(bits, encoding)
    if png.colour_type == GREY:
        values = np.asarray(image)
        layers = [table[values]]
        if key is not None:
            layers.append(np.where(values == key, np.uint8(0), np.uint8(255)))
        result = Image.merge("LA" if key is not None else "L", [*map(Image.fromarray, layers)])
    elif bits == 16 and key is None and (encoding is None or encoding.transfer is None):
        return image, encoding
    else:
        result = _from_both_bytes(image, file, png, bits, table, key)
    if "exif" in image.info:
        result.info["exif"] = image.info["exif"]
    if "icc_profile" in image.info:
        result.info["icc_profile"] = image.info["icc_profile"]
    return result, encoding_of(encoding.primaries, None) if encoding else None


def _used_bits(image: Image.Image, png: PngStructure) -> int:
    """The bits a channel that the values fill, 8 to 16: as declared, else as they are used."""
    colours = image.split()[: 1 if png.colour_type in (GREY, GREY_ALPHA) else 3]
    highest = int(max(np.max(band.getextrema()) for band in colours))
    used = highest.bit_length() if png.colour_type == GREY else 8 + highest.bit_length()
    declared = significant_bits(png.chunks)
    if declared is not None:  # scaled to 16 bits, as the standard has it, or not
        return max(declared, 8) if used <= declared else 16
    return max(used, MIN_USED_BITS) if used <= MAX_USED_BITS else 16


def _alpha_bits(image: Image.Image, bits: int) -> int:
    """Of alpha, stored like colours of `bits` bits or with all of 16. Full opacity may be either.

    What lies beyond `bits` shows in the high bytes, which the image has.
    """
    if "A" not in image.getbands():
        return bits
    levels = image.getchannel("A").histogram()
    return 16 if any(levels[1 << (bits - 8) : 255]) else bits


def _table(bits: int, encoding: ColourEncoding | None) -> npt.NDArray[np.uint8]:
    """(65536,): a sample, of which `bits` are used -> 8 bits."""
    if encoding is None or encoding.transfer is None:
        table = (np.arange(1 << bits) >> (bits - 8)).astype(np.uint8)
    else:
        table = encoding.tone_table(1 << bits)
    return np.pad(table, (0, (1 << 16) - len(table)), constant_values=255)


def _from_both_bytes(
    image: PngImageFile,
    file: TimedFile,
    png: PngStructure,
    bits: int,
    table: npt.NDArray[np.uint8],
    key: tuple[int, int, int] | None,
) -> Image.Image:
    """A loaded image of high bytes, RGB or RGBA, and its file -> RGB or RGBA."""
    other = _load_other_bytes(file)
    opacity = _table(_alpha_bits(image, bits), None)
    mode = "RGBA" if key is not None or png.colour_type != RGB else "RGB"
    result = Image.new(mode, image.size)
    for top in range(0, image.height, STRIP_ROWS):
        box = (0, top, image.width, min(top + STRIP_ROWS, image.height))
        high, low = np.asarray(image.crop(box)), np.asarray(other.crop(box))
        values, alpha = _samples(high, low, png.colour_type)
        channels = [table[values]]
        if key is not None:
            channels.append(np.where((values == key).all(axis=2), np.uint8(0), np.uint8(255)))
        elif alpha is not None:
            channels.append(opacity[alpha])
        result.paste(Image.fromarray(np.dstack(channels)), box)
    return result


def _samples(
    high: npt.NDArray[np.uint8], low: npt.NDArray[np.uint8], colour_type: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16] | None]:
    """Both of (H, W, 3 or 4), as Pillow gave them -> (H, W, 3), and (H, W) where there is alpha."""
    if colour_type == GREY_ALPHA:
        grey, alpha = (
            low[..., first].astype(np.uint16) << EIGHT | low[..., first + 1] for first in (0, 2)
        )
        return np.repeat(grey[..., None], 3, axis=2), alpha
    values = high.astype(np.uint16) << EIGHT | low
    return values[..., :3], None if colour_type == RGB else values[..., 3]


def _load_other_bytes(file: TimedFile) -> Image.Image:
    file.seek(0)
    image = PngImageFile(file)
    decoder, extents, offset, layout = image.tile[0]
    tile = (decoder, extents, offset, OTHER_LAYOUT[cast("str", layout)])
    image.tile = [cast("ImageFile._Tile", tile)]
    image.load()
    return image

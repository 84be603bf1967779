"""The pixels of a bitmap.

Pillow's own reader takes any palette of two grey entries for one of 1 bit, and knows eleven of the
many layouts that bit fields can have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImagePalette

from imaging.decode.bmp.header import DEFAULT_MASKS, PALETTE_BITS, BmpHeader, read_header
from imaging.decode.deadline import Deadline, TimedFile
from imaging.pixel_array import STRIP_ROWS

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

CHECK_EVERY: Final = 4096  # run lengths, each of which takes less than a microsecond


class BmpFile(ImageFile.ImageFile):
    """Reads what `read_header` describes: Pillow decodes rows, this file all other kinds."""

    format = "BMP"

    def _open(self) -> None:
        self.file = cast("TimedFile", self.fp)
        self.header = read_header(self.file.getvalue())
        self._size = self.header.size
        self.tile = []  # before Pillow 11 it is None, which means that there is nothing to load
        if self.header.profile:
            self.info["icc_profile"] = self.header.profile
        bits, masks = self.header.bits, self.header.masks
        if bits in PALETTE_BITS:
            self._mode = "P"
            self.palette = ImagePalette.raw("RGB", self.header.palette)
        else:
            self._mode = "RGBA" if masks[3] else "RGB"
        if (
            self.header.compression != "raw"
            or bits == 16
            or masks != DEFAULT_MASKS.get(bits, masks)
        ):
            return
        layout = {24: "BGR", 32: "BGRX", 8: "P"}.get(bits, f"P;{bits}")
        direction = 1 if self.header.top_down else -1
        self.tile = [
            ImageFile._Tile(
                "raw",
                (0, 0, *self.size),
                self.header.start,
                (layout, self.header.row_bytes, direction),
            )
        ]

    def load(self) -> PixelAccess | None:
        if self.fp is not None and not self.tile:
            self.file.seek(self.header.start)
            data = self.file.read()
            self.fp = None
            if self.header.compression == "raw":
                rows = _channels(data, self.header)
            else:
                rows = _run_lengths(data, self.header, self.file.deadline)
            self.im = Image.fromarray(rows if self.header.top_down else rows[::-1]).im
        return super().load()


def _channels(data: bytes, header: BmpHeader) -> npt.NDArray[np.uint8]:
    """(H, W, 3 or 4) in the file's order of rows, of channels in any bits. Raises ValueError."""
    width, height = header.size
    num_bytes = header.bits // 8
    num_channels = 4 if header.masks[3] else 3
    rows = np.frombuffer(data, np.uint8, header.row_bytes * height).reshape(height, -1)
    pixels = rows[:, : width * num_bytes].reshape(height, width, num_bytes)
    result = np.zeros((height, width, num_channels), np.uint8)
    for top in range(0, height, STRIP_ROWS):
        strip = slice(top, top + STRIP_ROWS)
        values = np.zeros(result[strip].shape[:2], np.uint32)
        for byte in range(num_bytes):
            values |= pixels[strip, :, byte].astype(np.uint32) << np.uint32(8 * byte)
        for channel, mask in enumerate(header.masks[:num_channels]):
            if mask:
                low_bit = mask & -mask
                levels, highest = (values & np.uint32(mask)) // np.uint32(low_bit), mask // low_bit
                result[strip, :, channel] = (levels * (255 / highest) + 0.5).astype(np.uint8)
    return result


def _run_lengths(data: bytes, header: BmpHeader, deadline: Deadline) -> npt.NDArray[np.uint8]:
    """(H, W) indices in the file's order of rows; those that no run reaches are 0.

    https://learn.microsoft.com/windows/win32/gdi/bitmap-compression. Raises ValueError where the
    file ends before its end mark and before its last row.
    """
    width, height = header.size
    indices = np.zeros((height, width), np.uint8)
    per_byte = 2 if header.compression == "rle4" else 1
    at = x = y = num_codes = 0
    while y < height:
        num_codes += 1
        if num_codes % CHECK_EVERY == 0:
            deadline.check()
        if at + 2 > len(data):
            if y == height - 1 and x >= width:  # only the end mark is missing
                break
            raise ValueError("the file ends in its run lengths")
        count, value = data[at], data[at + 1]
        at += 2
        if count:  # a run of one index, or of two that alternate
            run = indices[y, x : x + count]
            if per_byte == 2:
                run[::2], run[1::2] = value >> 4, value & 15
            else:
                run[:] = value
            x += count
        elif value == 0:  # end of row
            x, y = 0, y + 1
        elif value == 1:  # end of bitmap
            break
        elif value == 2:  # move right and up
            if at + 2 > len(data):
                raise ValueError("the file ends in its run lengths")
            x, y = x + data[at], y + data[at + 1]
            at += 2
        else:  # `value` indices, padded to 2 bytes
            num_bytes = -(-value // per_byte)
            piece = np.frombuffer(data, np.uint8, num_bytes, at)
            if per_byte == 2:
                piece = np.stack((piece >> 4, piece & 15), axis=-1).reshape(-1)
            run = indices[y, x : x + value]
            run[:] = piece[: len(run)]
            x += value
            at += num_bytes + num_bytes % 2
    return indices

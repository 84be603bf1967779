"""The header of a Windows or OS/2 bitmap: all that its pixels are read by.

https://learn.microsoft.com/windows/win32/gdi/bitmap-header-types; OS/2: the 16 and 64 byte headers
begin like Windows' 40. Which files are valid: https://entropymine.com/jason/bmpsuite
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

from imaging.decode.formats import not_read

FILE_HEADER: Final = 14  # bytes
CORE_HEADER: Final = 12  # bytes: OS/2 1 and Windows 2, with sides of 16 bits
OS2_HEADERS: Final = (16, 64)

# Values of the field `compression`; OS/2 gives 3 and 4 another meaning.
RAW, RLE8, RLE4, BITFIELDS, JPEG, PNG, ALPHA_BITFIELDS = range(7)
OS2_HUFFMAN, OS2_RLE24 = 3, 4
PRINTERS: Final = (11, 12, 13)  # CMYK, plain and in run lengths of 8 and 4 bits
NAMES: Final = {JPEG: "JPEG inside", PNG: "PNG inside"}
OS2_NAMES: Final = {OS2_HUFFMAN: "Huffman coding", OS2_RLE24: "24-bit run lengths"}

PALETTE_BITS: Final = (1, 2, 4, 8)
BITS: Final = (*PALETTE_BITS, 16, 24, 32)
DEFAULT_MASKS: Final = {
    16: (0x7C00, 0x03E0, 0x001F, 0),
    24: (0xFF0000, 0xFF00, 0xFF, 0),
    32: (0xFF0000, 0xFF00, 0xFF, 0),
}
EMBEDDED_PROFILE: Final = b"DEBM"  # "MBED", as a little-endian number


@dataclass(frozen=True)
class BmpHeader:
    """What a bitmap says about itself."""

    size: tuple[int, int]  # (width, height) px
    top_down: bool  # else the last row comes first
    bits: int  # per pixel: of a palette's index up to 8, else of all channels together
    compression: Literal["raw", "rle8", "rle4"]
    masks: tuple[int, int, int, int]  # red, green, blue, alpha; 0 where there is no such channel
    palette: bytes  # red, green, blue of 256 colours; those that the file lacks are black
    start: int  # byte offset of the pixels
    profile: bytes | None  # ICC

    @property
    def row_bytes(self) -> int:
        """Of a row that is not compressed: padded to 4 bytes."""
        return (self.size[0] * self.bits + 31) // 32 * 4

    @property
    def end(self) -> int:
        """The byte offset behind the pixels, as far as the header tells it."""
        return self.start + (self.row_bytes * self.size[1] if self.compression == "raw" else 0)


def read_header(data: bytes) -> BmpHeader:
    """Takes any bytes behind a bitmap's signature.

    Raises ValueError where the header is damaged, UnsupportedImage for a kind that is not read.
    """
    length = int.from_bytes(data[14:18], "little")
    header = data[FILE_HEADER : FILE_HEADER + length]
    if len(header) < length:
        raise ValueError("the file ends in its header")
    if length == CORE_HEADER:
        width, height, planes, bits = struct.unpack_from("<HHHH", header, 4)
    else:
        width, height, planes, bits = struct.unpack_from("<iiHH", header, 4)
    rest = header[16:].ljust(24, b"\0")
    compression, num_colours = struct.unpack_from("<I12xI", rest)
    _check(length, planes, bits, compression)
    if width <= 0 or height == 0:
        raise ValueError(f"{width}x{height} pixels")

    masks = DEFAULT_MASKS.get(bits, (0, 0, 0, 0))
    end = FILE_HEADER + length
    if compression in (BITFIELDS, ALPHA_BITFIELDS):
        if length >= 52:
            red, green, blue = struct.unpack_from("<III", header, 40)
            alpha = int.from_bytes(header[52:56], "little")
        else:
            num_masks = 4 if compression == ALPHA_BITFIELDS else 3
            red, green, blue = struct.unpack_from("<III", data, end)
            alpha = int.from_bytes(data[end + 12 : end + 16], "little") if num_masks == 4 else 0
            end += 4 * num_masks
        masks = (red, green, blue, alpha)
        if any(mask >= 1 << bits for mask in masks) or not all(map(_is_contiguous, masks)):
            raise ValueError(f"channels in the bits {masks}")
    entry_bytes = 3 if length == CORE_HEADER else 4
    start = int.from_bytes(data[10:14], "little")
    if start == 0:  # not filled in: the pixels follow what comes before them
        start = end + entry_bytes * (num_colours or (1 << bits if bits in PALETTE_BITS else 0))
    if bits in PALETTE_BITS:
        # OS/2 does not always count its colours: they end where the pixels begin.
        num_colours = min(num_colours or 1 << bits, max(start - end, 0) // entry_bytes, 256)
    else:
        num_colours = 0
    return BmpHeader(
        size=(width, abs(height)),
        top_down=height < 0,
        bits=bits,
        compression="rle8" if compression == RLE8 else "rle4" if compression == RLE4 else "raw",
        masks=masks,
        palette=_palette(data[end : end + num_colours * entry_bytes], entry_bytes),
        start=start,
        profile=_profile(data, header),
    )


def _check(length: int, planes: int, bits: int, compression: int) -> None:
    names = OS2_NAMES if length in OS2_HEADERS else NAMES
    if compression in names:
        raise not_read(f"BMP files with {names[compression]} are")
    if compression in PRINTERS:
        raise not_read("BMP files of CMYK are")
    if bits == 64:
        raise not_read("BMP files of 64 bits a pixel are")
    valid = {
        RAW: BITS,
        RLE8: (8,),
        RLE4: (4,),
        BITFIELDS: (16, 24, 32),
        ALPHA_BITFIELDS: (16, 32),
    }
    if planes != 1 or bits not in valid.get(compression, ()):
        raise ValueError(f"{planes} planes of {bits} bits, compression {compression}")


def _is_contiguous(mask: int) -> bool:
    return mask & (mask + (mask & -mask)) == 0


def _palette(entries: bytes, entry_bytes: int) -> bytes:
    blue, green, red = (entries[channel::entry_bytes] for channel in range(3))
    colours = bytes(value for colour in zip(red, green, blue) for value in colour)
    return colours.ljust(768, b"\0")


def _profile(data: bytes, header: bytes) -> bytes | None:
    """A profile in the file itself, of the header of 124 bytes; not one that it links to."""
    if len(header) < 124 or header[56:60] != EMBEDDED_PROFILE:
        return None
    offset, length = struct.unpack_from("<II", header, 112)
    return data[FILE_HEADER + offset : FILE_HEADER + offset + length]

"""The size that an AV1 picture itself declares.

Its decoder allocates by that, and libavif scales the result to what the boxes around it say.
AV1 Bitstream & Decoding Process Specification, sections 5.3 to 5.5: https://aomediacodec.github.io
"""

from __future__ import annotations

from typing import Final

SEQUENCE_HEADER: Final = 1  # type of an OBU
MAX_OBUS: Final = 32  # of a picture; a sequence header is the first, or behind a delimiter


def picture_size(data: bytes) -> tuple[int, int]:
    """(width, height) px, the largest of the sequence headers among the OBUs of a picture.

    Raises ValueError if there is none, for then nothing limits what is decoded.
    """
    sizes = []
    start = 0
    for _ in range(MAX_OBUS):
        if start >= len(data):
            break
        first = data[start]
        start += 2 if first & 4 else 1  # with an extension
        length = len(data) - start
        if first & 2:
            length, start = _leb128(data, start)
        if first >> 3 & 15 == SEQUENCE_HEADER:
            sizes.append(_sequence_size(_Bits(data[start : start + length])))
        start += length
    if not sizes:
        raise ValueError("no sequence header")
    return max(sizes, key=lambda size: size[0] * size[1])


class _Bits:
    """A reader of big-endian numbers of any width; behind the end all bits are 0."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data[:256], "big") << 8 * max(0, 256 - len(data))
        self._left = 8 * 256

    def read(self, width: int) -> int:
        self._left = max(0, self._left - width)
        return self._number >> self._left & ((1 << width) - 1)


def _sequence_size(bits: _Bits) -> tuple[int, int]:
    bits.read(4)  # profile, still picture
    is_reduced = bits.read(1)
    if is_reduced:
        bits.read(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.read(1):  # timing
        bits.read(64)
        if bits.read(1):  # equal intervals: a number of as many bits as zeros before it
            zeros = 0
            while zeros < 32 and not bits.read(1):
                zeros += 1
            bits.read(zeros if zeros < 32 else 0)
        if bits.read(1):  # decoder model
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)


def _leb128(data: bytes, start: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and the offset behind it."""
    number = 0
    for index, byte in enumerate(data[start : start + 8]):
        number |= (byte & 127) << 7 * index
        if not byte & 128:
            return number, start + index + 1
    raise ValueError("a length without end")

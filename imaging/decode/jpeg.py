"""The structure of a JPEG: what decides how long it takes to decode, besides its size."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from imaging.decode.formats import not_read, too_complex

# The marker, and the high byte of a length that is always below 256.
START_OF_SCAN: Final = b"\xff\xda\0"
EXIF: Final = b"Exif\0\0"

# Every scan walks the whole picture: 7000x7000 pixels with 10 000 scans are 0.9 MB and five
# minutes. Ordinary files have one, progressive ones about ten; libtiff too stops at 100.
MAX_SCANS: Final = 100

# Pillow adds every EXIF segment to a copy of all before it. Ordinary files have one.
MAX_EXIF: Final = 100

# Pillow reads segments one by one, in Python, and keeps them: 31 MB of empty ones take 10 s and
# 1 GB. Ordinary files have a few dozen.
MAX_SEGMENTS: Final = 1000

# SOF9 to SOF15 of one to ten components, of 8 or 12 bits a sample (ITU-T T.81, table B.1): marker,
# length, bits, height and width, components, from which the length follows. Among the pixels no
# marker follows FF; elsewhere bytes look like this by chance once in a million megabytes.
ARITHMETIC: Final = re.compile(
    rb"\xff[\xc9-\xcb\xcd-\xcf]\0(?:"
    + b"|".join(
        re.escape(bytes([8 + 3 * count])) + rb"[\x08\x0c].{4}" + re.escape(bytes([count]))
        for count in range(1, 11)
    )
    + rb")",
    re.DOTALL,
)


# The markers of frame headers, and of those that Pillow reads: baseline, extended, progressive.
FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
READ_FRAMES: Final = frozenset((0xC0, 0xC1, 0xC2))
LOSSLESS: Final = frozenset((0xC3, 0xC7, 0xCB, 0xCF))


@dataclass(frozen=True)
class JpegStructure:
    """Counts of what a JPEG may repeat at will, and how its pixels are coded."""

    num_scans: int
    num_exif: int  # segments
    num_segments: int  # before the pixels; counted up to MAX_SEGMENTS + 1
    is_arithmetic: bool
    frame: int | None  # the second byte of the frame header's marker; None where there is no header
    bits: int  # of a sample


def read_structure(data: bytes) -> JpegStructure:
    """Takes any bytes: what is damaged ends the walk over the segments."""
    segments = list(itertools.islice(_segments(data), MAX_SEGMENTS + 1))
    frame = next((start for start in segments if data[start + 1] in FRAMES), None)
    return JpegStructure(
        num_scans=data.count(START_OF_SCAN),
        num_exif=data.count(EXIF),
        num_segments=len(segments),
        is_arithmetic=is_arithmetic(data),
        frame=None if frame is None else data[frame + 1],
        bits=8 if frame is None else int.from_bytes(data[frame + 4 : frame + 5], "big"),
    )


def check_structure(jpeg: JpegStructure) -> None:
    """Raises UnreadableImage for too many parts, UnsupportedImage for a kind that is not read."""
    if jpeg.is_arithmetic:
        raise not_read("JPEG files with arithmetic coding are")
    if jpeg.frame in LOSSLESS:
        raise not_read("Lossless JPEG files are")
    if jpeg.frame is not None and jpeg.frame not in READ_FRAMES:
        raise not_read("Hierarchical JPEG files are")
    if jpeg.bits == 12:
        raise not_read("JPEG files of 12 bits a sample are")
    if jpeg.num_scans > MAX_SCANS or jpeg.num_exif > MAX_EXIF or jpeg.num_segments > MAX_SEGMENTS:
        raise too_complex("JPEG")


def is_arithmetic(data: bytes) -> bool:
    """Whether pixels are arithmetically coded, in a JPEG file or in a TIFF.

    A few bytes may then be any number of pixels. libjpeg's decoder feeds itself zeros at the end of
    the data for as long as pixels are missing, and no error ends that: 5 kB make an image of
    49 megapixels, however long it takes. Hardly any program writes it, and Pillow reads no such
    file beyond 64 kB.
    """
    return ARITHMETIC.search(data) is not None


def _segments(data: bytes) -> Iterator[int]:
    """The offset of each segment before the pixels (ITU-T T.81, section B.1.1)."""
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF and data[start + 1] != 0xDA:
        yield start
        # Fill bytes, a stuffed byte where none belongs, and stand-alone markers have no length.
        has_length = 0xC0 <= data[start + 1] < 0xFF and not 0xD0 <= data[start + 1] <= 0xD9
        length = int.from_bytes(data[start + 2 : start + 4], "big") if has_length else 0
        start += 2 + length

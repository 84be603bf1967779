"""Pillow's reader of JPEG, for files that lack no more than their end mark."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, cast

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from imaging.decode.deadline import TimedFile
from imaging.pixel_array import STRIP_ROWS

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

END_MARK: Final = b"\xff\xd9"

# What may be missing is decoded from these bytes, first the ones, then the others, and behind no
# more than an end mark from zeros. They last for an MCU of ten blocks, some of which may be out of
# sight.
FILLERS: Final = (b"\x55" * 4096, b"\xab" * 4096)
RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")

# Up to the number of components. SOF0, 1 and 2 of 8 bits; SOS.
FRAME_HEADER: Final = re.compile(rb"\xff[\xc0-\xc2]\0.\x08....[\1-\4]", re.DOTALL)
SCAN_HEADER: Final = re.compile(rb"\xff\xda\0.[\1-\4]", re.DOTALL)


class JpegFile(JpegImageFile):
    """Pillow's reader, less its search for a resolution: in broken EXIF that costs the picture.

    Of a file that ends without a mark it is not known whether pixels are missing: libjpeg does not
    say so, and fills them up. So such a file is decoded again, with other bits behind its end. If
    the pixels are the same, they all come from the file; else it counts as truncated.
    """

    _tail = b""  # what is read behind the end of the file; empty until its end is reached
    _has_ended = False

    def _open(self) -> None:
        self.info["dpi"] = (72, 72)  # with one set, it does not look for another
        self.data = cast("TimedFile", self.fp).getvalue()
        super()._open()

    def load(self) -> PixelAccess | None:
        file, tile = self.fp, list(self.tile)
        if not tile:
            return super().load()
        self._tail = END_MARK
        pixels = super().load()
        if self._has_ended:
            if not has_all_scans(self.data):
                raise OSError("scans are missing")
            picture = _digest(self)
            for tail in (*tails(self.data), END_MARK):  # the last one leaves the picture as it was
                self.fp, self.tile, self._tail, self._has_ended = file, list(tile), tail, False
                super().load()
                if _digest(self) != picture:
                    raise OSError("pixels are missing")
        return pixels

    def load_read(self, read_bytes: int) -> bytes:
        """Pillow calls it for the next bytes; a decoder that has all its pixels asks no more."""
        data = super().load_read(read_bytes)
        if data or self._has_ended:
            return data
        self._has_ended = True
        return self._tail


def tails(data: bytes) -> list[bytes]:
    """What could follow a JPEG that has no end: bits in place of those that may be missing.

    Behind the last restart marker of the data the next ones are expected (ITU-T T.81, B.2.1).
    """
    last = [match.group()[1] for match in RESTART.finditer(data, data.rfind(b"\xff\xda"))][-1:]
    first = last[0] + 1 if last else 0
    begin = b"\0" if data.endswith(b"\xff") else b""  # else it would be half of a marker
    return [
        begin
        + b"".join(filler + bytes((0xFF, 0xD0 | (first + index) % 8)) for index in range(8))
        + filler
        + END_MARK
        for filler in FILLERS
    ]


def has_all_scans(data: bytes) -> bool:
    """Whether each component's coefficients are there to their last bit (ITU-T T.81, B.2.3, G.1).

    A progressive file that ends between two scans shows the whole picture, blurred.
    """
    missing: dict[int, set[int]] = {}
    start = 0
    for frame in FRAME_HEADER.finditer(data):  # the last one: those before are of previews
        components = data[frame.end() : frame.end() + 3 * data[frame.end() - 1]]
        missing = {component: set(range(64)) for component in components[::3]}
        start = frame.end()
    for scan in SCAN_HEADER.finditer(data, start):
        count = data[scan.end() - 1]
        components = data[scan.end() : scan.end() + 2 * count : 2]
        first, last, bits = data[scan.end() + 2 * count :][:3].ljust(3, b"\xff")
        if bits & 15 == 0:  # the lowest bit
            for component in components:
                missing.get(component, set()).difference_update(range(first, last + 1))
    return not any(missing.values())


def _digest(image: Image.Image) -> bytes:
    digest = hashlib.blake2b()
    width, height = image.size
    for top in range(0, height, STRIP_ROWS):
        digest.update(image.crop((0, top, width, min(top + STRIP_ROWS, height))).tobytes())
    return digest.digest()

"""Camera raw files: what a sensor measured, with a small preview for the camera's own display.

Most are TIFFs whose first picture is the preview. A mask of that would be one of another size and
sharpness than the photo's, so the files are refused by name.
Signatures: https://exiftool.org/TagNames/, and the formats' entries in
https://www.digipres.org/formats/ (PRONOM).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.decode.formats import READ_FORMATS
from imaging.decode.tiff.codes import COLOUR_FILTER_ARRAY, LINEAR_RAW
from imaging.decode.tiff.directory import TiffDirectory
from imaging.errors import UnsupportedImage

# Formats of their own, and those that change TIFF's signature or add one behind it. The pixels of
# an ordinary TIFF may begin there, too, so that its first letters alone (CR, IIII) are not enough.
SIGNATURES: Final[dict[str, re.Pattern[bytes]]] = {
    "Canon CR2": re.compile(rb"(?:II\*\0|MM\0\*).{4}CR\x02\0", re.DOTALL),
    "Canon CR3": re.compile(rb"....ftypcrx ", re.DOTALL),
    "Canon CRW": re.compile(rb"(?:II|MM).{4}HEAPCCDR", re.DOTALL),
    "Fujifilm RAF": re.compile(rb"FUJIFILMCCD-RAW"),
    "Minolta MRW": re.compile(rb"\0MR[MI]"),
    "Olympus ORF": re.compile(rb"IIR[OS]|MMOR"),
    "Panasonic RW2": re.compile(rb"IIU\0"),
    "Phase One IIQ": re.compile(rb"(?:II\*\0|MM\0\*).{4}(?:IIII.waR|MMMMRaw.)", re.DOTALL),
    "Sigma X3F": re.compile(rb"FOVb"),
}

# Tags that only a directory of raw pixels, or a file with one, has.
DNG_VERSION: Final = 50706
CFA_PATTERN: Final = (33421, 33422)  # the filters' repetition, and their colours (TIFF/EP)
SONY_SR2: Final = 50740  # a directory of Sony's; in a DNG private data of its maker

# Compressions that only cameras use: Nikon, Sony, Pentax, Kodak and Samsung.
RAW_COMPRESSIONS: Final = {34713, 32767, 32769, 32770, 65000, 65535}

# Make, and how it starts -> what its raw files are called.
MAKE: Final = 271
MAKERS: Final = {
    **{"nikon": "Nikon NEF", "sony": "Sony ARW", "pentax": "Pentax PEF", "ricoh": "Pentax PEF"},
    **{"canon": "Canon CR2", "samsung": "Samsung SRW", "hasselblad": "Hasselblad 3FR"},
    **{"kodak": "Kodak DCR", "eastman kodak": "Kodak DCR", "epson": "Epson ERF"},
    **{"seiko epson": "Epson ERF", "mamiya": "Mamiya MEF", "leaf": "Leaf MOS"},
    **{"olympus": "Olympus ORF", "panasonic": "Panasonic RW2", "leica": "Leica RWL"},
}
MAX_MAKE: Final = 64  # bytes


def refuse_raw(data: bytes) -> None:
    """Raises UnsupportedImage where the first bytes announce a raw format."""
    name = next((name for name, seen in SIGNATURES.items() if seen.match(data)), None)
    if name is not None:
        raise _unsupported(name)


def refuse_raw_tiff(directories: Sequence[TiffDirectory]) -> None:
    """Raises UnsupportedImage where one of a TIFF's directories holds raw pixels."""
    if any(directory.entry(DNG_VERSION) for directory in directories):
        raise _unsupported("DNG")
    if any(_is_raw(directory) for directory in directories):
        makes = (each.raw_bytes(MAKE, MAX_MAKE) for each in directories)
        make = next(filter(None, makes), b"").decode("ascii", "replace").lower()
        names = (name for maker, name in MAKERS.items() if make.startswith(maker))
        raise _unsupported(next(names, "in a TIFF"))


def _unsupported(name: str) -> UnsupportedImage:
    return UnsupportedImage(
        "unsupported_format",
        f"Camera raw files ({name}) are not read. Export the photo as JPEG with the camera's "
        "software or any raw converter.",
        formats=list(READ_FORMATS),
    )


def _is_raw(directory: TiffDirectory) -> bool:
    return (
        directory.metadata(tags.PHOTOMETRIC_INTERPRETATION) in (COLOUR_FILTER_ARRAY, LINEAR_RAW)
        or directory.metadata(tags.COMPRESSION) in RAW_COMPRESSIONS
        or any(directory.entry(tag) for tag in (*CFA_PATTERN, SONY_SR2))
    )

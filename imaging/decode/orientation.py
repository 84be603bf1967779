"""How a decoded image has to be turned to be upright."""

from __future__ import annotations

from typing import Final

from PIL import ExifTags, Image

# EXIF orientation -> the transposition that undoes it (Exif 2.32, tag 0x0112); 1 is upright.
TRANSPOSITIONS: Final[dict[object, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Before PNG had a chunk for EXIF, programs wrote it as a text in hex. Pillow splits it into lines:
# 31 MB of short ones would be 0.7 GB. EXIF itself has at most 64 kB.
EXIF_AS_TEXT: Final = "Raw profile type exif"
MAX_EXIF_TEXT: Final = 1 << 18  # characters


def transposition(image: Image.Image) -> Image.Transpose | None:
    """What makes a loaded image upright; None if it is, or if its orientation is not readable.

    Broken EXIF counts as none, for the picture is worth more than its metadata.
    """
    if len(image.info.get(EXIF_AS_TEXT, "")) > MAX_EXIF_TEXT:
        return None
    try:
        return TRANSPOSITIONS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # EXIF is as untrusted as the pixels
        return None

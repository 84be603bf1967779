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


def transposition(image: Image.Image) -> Image.Transpose | None:
    """What makes a loaded image upright; None if it is, or if its orientation is not readable.

    EXIF alone decides, as in browsers and OpenCV. `image.getexif()` would also obey XMP, and a text
    that programs wrote before PNG had a chunk for EXIF. Broken EXIF counts as none, for the picture
    is worth more than its metadata.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return TRANSPOSITIONS.get(exif.get(ExifTags.Base.Orientation))
    except Exception:  # EXIF is as untrusted as the pixels
        return None

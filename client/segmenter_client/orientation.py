"""PIL images turned upright, as the service turns files."""

from __future__ import annotations

from typing import Final

from PIL import ExifTags, Image

# EXIF orientation -> the transposition that undoes it (Exif 2.32, tag 0x0112); 1 is upright.
TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """The image turned by its EXIF orientation; itself if it has none.

    EXIF alone decides: `ImageOps.exif_transpose` would also obey XMP, which browsers, OpenCV and
    the service do not. Broken EXIF counts as none. TIFF files are upright once they are loaded.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        transposition = TRANSPOSITIONS.get(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever Pillow raises for metadata that is not worth an image
        return image
    return image if transposition is None else image.transpose(transposition)

"""Photos for a soak: drawn ones of many sizes and formats, and those of a folder."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Final

from PIL import Image

from imaging import ImageError, decode_image
from scripts.common.street import draw_street
from scripts.common.terminal import UserError
from segmenter_client.formats import IMAGE_EXTENSIONS

PHOTO_FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
WIDTHS: Final = (240, 1200)  # px, smallest and largest
ASPECTS: Final = (0.5, 2.0)  # height / width
SEED: Final = 0


def drawn_photos(count: int) -> list[bytes]:
    """Streets of different sizes and crops, half of them upright, in all PHOTO_FORMATS."""
    generator = random.Random(SEED)
    street = draw_street()
    photos = []
    for index in range(count):
        left, top = generator.randrange(0, 200), generator.randrange(0, 150)
        crop = street.crop((left, top, left + 440, top + 330))
        width = generator.randint(*WIDTHS)
        size = (width, round(width * generator.uniform(*ASPECTS)))
        picture = crop.resize(size, Image.Resampling.BILINEAR)
        file = io.BytesIO()
        picture.save(file, PHOTO_FORMATS[index % len(PHOTO_FORMATS)])
        photos.append(file.getvalue())
    return photos


def photos_in(folder: Path) -> list[bytes]:
    """All photos in `folder` and below. Raises UserError for none, or one that is not readable."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_EXTENSIONS)
    if not paths:
        raise UserError(f"no photos in {folder} ({', '.join(sorted(IMAGE_EXTENSIONS))})")
    return [read_photo_file(path) for path in paths]


def read_photo_file(path: Path) -> bytes:
    """The file's bytes. Raises UserError if the service cannot decode them."""
    data = path.read_bytes()
    try:
        decode_image(data)
    except ImageError as error:
        raise UserError(f"{path}: {error}") from error
    return data

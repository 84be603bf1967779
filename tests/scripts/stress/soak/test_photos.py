from __future__ import annotations

import io

from PIL import Image

from scripts.stress.soak.photos import PHOTO_FORMATS, drawn_photos


def test_drawn_photos_are_all_different_and_reproducible() -> None:
    photos = drawn_photos(len(PHOTO_FORMATS))
    assert drawn_photos(len(PHOTO_FORMATS)) == photos
    pictures = [Image.open(io.BytesIO(photo)) for photo in photos]
    assert [picture.format for picture in pictures] == list(PHOTO_FORMATS)
    assert len({picture.size for picture in pictures}) == len(photos)

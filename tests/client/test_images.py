"""Which bytes are sent for an image in its Python forms."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from segmenter_client import segment
from segmenter_client.images import image_bytes


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_pictures_of_other_modes_are_sent_as_rgb(mode: str) -> None:
    picture = Image.new("RGB", (4, 3), "teal") if mode != "LAB" else Image.new("LAB", (4, 3))
    sent = Image.open(io.BytesIO(image_bytes(picture if mode == "LAB" else picture.convert(mode))))
    assert (sent.format, sent.mode, sent.size) == ("PNG", "RGB", (4, 3))


def test_32_bits_are_sent_as_16() -> None:
    picture = Image.fromarray(np.array([[0, 300, 70_000]], np.int32))
    sent = Image.open(io.BytesIO(image_bytes(picture)))
    assert np.asarray(sent).tolist() == [[0, 300, 65_535]]


def test_what_is_not_an_image_is_not_sent() -> None:
    with pytest.raises(ValueError, match="mode F"):
        segment(Image.new("F", (4, 4)), url="http://127.0.0.1:1/")
    with pytest.raises(ValueError, match="float64"):
        segment(np.zeros((4, 4)), url="http://127.0.0.1:1/")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        segment("nowhere.jpg", url="http://127.0.0.1:1/")

"""The mask and its confidence as pictures and arrays."""

from __future__ import annotations

import io

import numpy as np

from imaging.export.overlay import overlay_jpeg
from imaging.export.png import PALETTE_SIZE, grey_png, mask_png
from serving.response.encoder_input import EncoderInput


def palette_png(content: EncoderInput) -> bytes:
    palette = content.label_map.palette
    if content.mask.dtype == np.uint8:  # then no value needs more, though void may be 65535
        palette = palette[:PALETTE_SIZE]
    return mask_png(content.mask, palette)


def overlay(content: EncoderInput) -> bytes:
    return overlay_jpeg(content.original, content.mask, content.label_map.palette)


def confidence_png(content: EncoderInput) -> bytes:
    return grey_png(content.confidence)


def npy(content: EncoderInput) -> bytes:
    file = io.BytesIO()
    np.save(file, content.mask, allow_pickle=False)
    return file.getvalue()

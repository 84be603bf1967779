"""A result as bytes, one function for each of our own forms of answer."""

from __future__ import annotations

import io

import numpy as np

from imaging.export.overlay import overlay_jpeg
from imaging.export.png import PALETTE_SIZE, grey_png, mask_png
from serving.response.answer import json_answer
from serving.response.result import Result


def mask(result: Result) -> bytes:
    palette = result.legend.palette
    if result.mask.dtype == np.uint8:  # then no value needs more, though void may be 65535
        palette = palette[:PALETTE_SIZE]
    return mask_png(result.mask, palette)


def overlay(result: Result) -> bytes:
    return overlay_jpeg(result.original, result.mask, result.legend.palette)


def summary(result: Result) -> bytes:
    height, width = result.size
    info = result.info
    return json_answer(
        {
            "size": {"width": width, "height": height},
            "model": {"name": info.name, "version": info.version, "digest": info.digest},
            "void": result.legend.void,
            "classes": result.classes(),
        }
    ).body


def confidence(result: Result) -> bytes:
    return grey_png(result.confidence)


def npy(result: Result) -> bytes:
    file = io.BytesIO()
    np.save(file, result.mask, allow_pickle=False)
    return file.getvalue()

"""What a segmentation is in a notebook: a picture with a legend, and a table."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter_client import Segmentation, SegmentedClass
from segmenter_client.image_responses import ImageResponses
from segmenter_client.legend import MAX_ROWS, MAX_SIDE, SWATCH_SIDE, percentage, with_legend
from tests.photos import encoded, photo

ROAD = SegmentedClass(3, "road", (128, 64, 128), 900, 0.75, (0, 10, 40, 30), 0.9)
CAR = SegmentedClass(7, "car", (64, 0, 128), 200, 0.1667, (4, 5, 6, 7), 0.8)
VOID = SegmentedClass(255, "void", (0, 0, 0), 100, 0.0833, (0, 0, 10, 10), 0.4)


def segmentation(overlay: Image.Image, *classes: SegmentedClass) -> Segmentation:
    responses = ImageResponses(b"", lambda *_: b"", {"overlay": encoded(overlay, "PNG")})
    return Segmentation(np.zeros((1, 1), np.uint8), classes, {}, responses)


def test_a_notebook_shows_the_overlay_and_the_classes() -> None:
    overlay = photo(120, 160)
    body = segmentation(overlay, ROAD, CAR)._repr_png_()
    shown = Image.open(io.BytesIO(body))
    assert shown.format == "PNG"
    pixels = np.asarray(shown)
    np.testing.assert_array_equal(pixels[:120, :160], np.asarray(overlay))
    legend = pixels[:, 160:].reshape(-1, 3)
    inner = (SWATCH_SIDE - 2) ** 2
    for entry in (ROAD, CAR):
        assert (legend == entry.colour).all(1).sum() == inner
    assert (legend < 64).all(1).any()  # the labels, in black


def test_void_has_no_colour_in_the_overlay_nor_in_the_legend() -> None:
    with_void = with_legend(Image.new("RGB", (80, 80)), [ROAD, dataclasses.replace(VOID, label="")])
    hollow = with_legend(Image.new("RGB", (80, 80)), [ROAD, VOID])
    black = [(np.asarray(one)[:, 80:104] == 0).all(2).sum() for one in (with_void, hollow)]
    assert black == [(SWATCH_SIDE - 2) ** 2, 0]


def test_a_large_photo_is_shown_smaller() -> None:
    picture = with_legend(Image.new("RGB", (4000, 3000)), [ROAD])
    assert MAX_SIDE < picture.width < 2 * MAX_SIDE
    assert picture.height == MAX_SIDE * 3 // 4


def test_many_classes_make_a_legend_of_bounded_length() -> None:
    small = Image.new("RGB", (10, 10))
    classes = [dataclasses.replace(CAR, id=index, fraction=0.005) for index in range(150)]
    picture = with_legend(small, classes)
    assert picture.height == with_legend(small, classes[: MAX_ROWS + 1]).height
    assert picture.height > with_legend(small, classes[:MAX_ROWS]).height


@pytest.mark.parametrize(
    ("fraction", "text"), [(1.0, "100.0%"), (0.1234, "12.3%"), (0.001, "0.1%"), (4e-6, "< 0.1%")]
)
def test_a_class_that_is_there_never_has_nothing(fraction: float, text: str) -> None:
    assert percentage(fraction) == text


def test_no_class_at_all() -> None:
    assert with_legend(Image.new("RGB", (30, 20)), []).height >= 20


def test_the_classes_as_a_table() -> None:
    pandas = pytest.importorskip("pandas")
    table = segmentation(photo(2, 2), ROAD, CAR).to_pandas()
    expected = pandas.DataFrame(
        {
            "label": ["road", "car"],
            "pixels": [900, 200],
            "fraction": [0.75, 0.1667],
            "confidence": [0.9, 0.8],
            "x": [0, 4],
            "y": [10, 5],
            "width": [40, 6],
            "height": [30, 7],
            "red": [128, 64],
            "green": [64, 0],
            "blue": [128, 128],
        },
        index=pandas.Index([3, 7], name="id"),
    )
    pandas.testing.assert_frame_equal(table, expected)


def test_the_client_imports_neither_pandas_nor_httpx() -> None:
    folder = Path(sys.modules["segmenter_client"].__file__ or "").parents[1]
    program = "import json, sys, segmenter_client; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True)
    assert {"pandas", "httpx", "anyio"}.isdisjoint(json.loads(done.stdout))

"""The client's run-length decoder against COCO's own encoder."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from segmenter_client.rle import paint


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_decoded_as_coco_encodes_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 200, 2)
    inside = random.random((height, width)) < random.choice([0.0, 0.001, 0.3, 1.0])
    counts = coco.encode(np.asfortranarray(inside, np.uint8))["counts"].decode()
    mask = np.zeros((width, height), np.uint8).T
    paint(mask, counts, 3)
    np.testing.assert_array_equal(mask, 3 * inside)

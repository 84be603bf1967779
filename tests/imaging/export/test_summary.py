from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from imaging.export import summary
from imaging.export.rle import coco_rle
from imaging.export.summary import class_summaries, sums_of_runs

# pycocotools' decode predates NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NUM_CLASSES = 300
LABELS = [f"class {k}" for k in range(NUM_CLASSES)]
PALETTE = [(k % 256, k // 256, 7) for k in range(NUM_CLASSES)]
SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30)


def plain_summary(mask: np.ndarray, confidence: np.ndarray, class_id: int) -> dict[str, object]:
    binary = mask == class_id
    ys, xs = np.nonzero(binary)
    return {
        "id": class_id,
        "label": LABELS[class_id],
        "colour": list(PALETTE[class_id]),
        "pixels": len(xs),
        "fraction": pytest.approx(binary.mean()),
        "bbox": [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1],
        "confidence": pytest.approx(confidence[binary].mean() / 255),
        "rle": coco_rle(binary),
    }


@given(st.data(), st.sampled_from([np.uint8, np.uint16, np.int32]))
def test_figures_are_those_of_each_class_alone(data: st.DataObject, dtype: type) -> None:
    shape = data.draw(SHAPES)
    ids = st.sampled_from([0, 1, 2, 255] if dtype is np.uint8 else [0, 1, 256, 299])
    mask = data.draw(arrays(dtype, shape, elements=ids))
    confidence = data.draw(arrays(np.uint8, shape))

    summaries = class_summaries(mask, confidence, LABELS, PALETTE)
    assert {summary["id"]: summary for summary in summaries} == {
        class_id: plain_summary(mask, confidence, class_id) for class_id in np.unique(mask).tolist()
    }
    assert [summary["pixels"] for summary in summaries] == sorted(
        (summary["pixels"] for summary in summaries), reverse=True
    )


def test_a_small_image_by_hand() -> None:
    mask = np.array([[0, 0, 2], [0, 2, 2]], np.uint8)
    confidence = np.array([[255, 255, 51], [255, 51, 102]], np.uint8)
    background, cat = class_summaries(mask, confidence, LABELS, PALETTE)
    assert (background["id"], background["pixels"], background["bbox"]) == (0, 3, [0, 0, 2, 2])
    assert (background["fraction"], background["confidence"]) == (0.5, 1.0)
    assert (cat["id"], cat["bbox"], cat["confidence"]) == (2, [1, 0, 2, 2], pytest.approx(4 / 15))
    assert coco.decode(cat["rle"]).tolist() == [[0, 0, 1], [0, 1, 1]]


def test_masks_of_the_classes_tile_the_image() -> None:
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 21, (37, 53)).astype(np.uint8)
    summaries = class_summaries(mask, np.full_like(mask, 255), LABELS, PALETTE)
    rebuilt = sum(summary["id"] * coco.decode(summary["rle"]) for summary in summaries)
    np.testing.assert_array_equal(rebuilt, mask)


def test_summaries_are_json_ready() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    summaries = class_summaries(mask, mask, LABELS, PALETTE)
    assert json.loads(json.dumps(summaries)) == summaries


@pytest.mark.parametrize("block", [1, 7, 100, 1000])
def test_sums_of_runs_across_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "BLOCK", block)
    values = np.random.default_rng(0).integers(0, 256, 100).astype(np.uint8)
    starts = np.array([0, 6, 7, 8, 14, 70, 99])
    expected = [int(run.sum()) for run in np.split(values, starts[1:])]
    assert sums_of_runs(values, starts).tolist() == expected


def test_memory_stays_far_below_eight_bytes_a_pixel() -> None:
    mask, confidence = np.zeros((2, 2000, 2000), np.uint8)
    mask[500:, 500:] = 1
    tracemalloc.start()
    class_summaries(mask, confidence, LABELS, PALETTE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * mask.size  # two copies down the columns, and where neighbours differ

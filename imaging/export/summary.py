"""What a mask contains, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from imaging.export.rle import CocoRle, column_runs, encode_runs

# Pixels summed at a time: as int64 they take 2 MB, what a core's second-level cache holds.
BLOCK = 1 << 18


class ClassSummary(TypedDict):
    """One class of one image, JSON-ready."""

    id: int
    label: str
    colour: list[int]  # [r, g, b], 0..255
    pixels: int
    fraction: float  # of the image, 0..1
    bbox: list[int]  # [x, y, width, height] px, as in COCO
    confidence: float  # mean over the class's pixels, 0..1
    rle: CocoRle


def class_summaries(
    mask: npt.NDArray[np.integer],
    confidence: npt.NDArray[np.uint8],
    labels: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
) -> list[ClassSummary]:
    """(H, W) class ids and (H, W) probability x 255 -> the classes present, largest first.

    The image is read once, as runs down its columns. Every figure is a reduction over runs, of
    which there are about a hundred times fewer than pixels.
    """
    height = mask.shape[0]
    runs = column_runs(mask)
    run_confidences = sums_of_runs(confidence.ravel(order="F"), runs.starts)

    by_class = np.argsort(runs.values, kind="stable")  # a class's runs stay in ascending order
    starts, lengths = runs.starts[by_class], runs.lengths[by_class]
    ids, first_run = np.unique(runs.values[by_class], return_index=True)

    pixels = np.add.reduceat(lengths, first_run)
    confidences = np.add.reduceat(run_confidences[by_class], first_run) / (255 * pixels)

    first_x, first_y = np.divmod(starts, height)
    last_x, last_y = np.divmod(starts + lengths - 1, height)
    wraps = first_x != last_x  # from the bottom of a column to the top of the next
    left = np.minimum.reduceat(first_x, first_run)
    right = np.maximum.reduceat(last_x, first_run)
    top = np.minimum.reduceat(np.where(wraps, 0, first_y), first_run)
    bottom = np.maximum.reduceat(np.where(wraps, height - 1, last_y), first_run)
    boxes = np.stack((left, top, right - left + 1, bottom - top + 1), axis=1)

    run_slices = [slice(*ends) for ends in zip(first_run, [*first_run[1:], len(starts)])]
    return [
        {
            "id": int(ids[k]),
            "label": labels[ids[k]],
            "colour": list(palette[ids[k]]),
            "pixels": int(pixels[k]),
            "fraction": float(pixels[k] / mask.size),
            "bbox": boxes[k].tolist(),
            "confidence": float(confidences[k]),
            "rle": encode_runs(starts[run_slices[k]], lengths[run_slices[k]], mask.shape),
        }
        for k in np.argsort(-pixels, kind="stable")
    ]


def sums_of_runs(
    values: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """(P,) in runs that begin at `starts` (N,), the first at 0 -> the sum of each, (N,).

    NumPy's reduceat would convert all values to int64 before it adds: 400 MB for 50 megapixels.
    """
    blocks = np.arange(0, len(values), BLOCK)
    pieces = np.union1d(starts, blocks)  # runs, cut where a block begins
    first = np.searchsorted(pieces, [*blocks, len(values)])
    sums = [
        np.add.reduceat(values[block : block + BLOCK], pieces[i:j] - block, dtype=np.int64)
        for block, i, j in zip(blocks, first, first[1:])
    ]
    whole: npt.NDArray[np.int64] = np.add.reduceat(
        np.concatenate(sums), np.searchsorted(pieces, starts)
    )
    return whole

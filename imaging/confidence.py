"""The winning class's softmax probability at every pixel, on a CPU, without enlarging all logits.

Within a cell of the grid, between four nodes, most classes cannot matter: their share of the
softmax stays below what a grey level shows. Only the others are interpolated and exponentiated;
where there is only one of them, the whole cell is certain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imaging.bilinear import pixel_positions

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

LEVELS = 255  # grey levels above 0
NEGLIGIBLE = 0.5 / LEVELS  # how much of the softmax may be left out in all, relative to the winner

LOG2_E = np.float32(np.log2(np.e))  # 2 ** (x * LOG2_E) == e ** x: NumPy's exp2 takes half the time
HUGE = 1e30  # stands in for infinity, because inf - inf has no sign

# Logits interpolated at a time, 1 MB: what a core's second-level cache holds.
BATCH_LOGITS = 1 << 18


class Cells(NamedTuple):
    """The cells along one axis of N nodes: N - 1 between nodes and one beyond either end."""

    edges: Ints  # (N + 2,) pixels edges[k]:edges[k + 1] lie in cell k
    weight: Floats  # (N + 1, longest cell) of the node after each pixel; shorter cells are padded


def confidence_by_cells(logits: Floats, confidence: Bytes) -> None:
    """Fill `confidence` (H, W) with the winner's probability x 255, to within one grey level.

    logits are (C, h, w), before enlargement.
    """
    num_classes, height, width = logits.shape
    rows = _cells(height, confidence.shape[0])
    columns = _cells(width, confidence.shape[1])
    cell_pixels = rows.weight.shape[1] * columns.weight.shape[1]

    nodes = np.nan_to_num(logits, nan=-HUGE, posinf=HUGE, neginf=-HUGE) * LOG2_E
    nodes = np.pad(nodes, ((0, 0), (1, 1), (1, 1)), mode="edge")  # beyond the ends nothing changes
    confidence[...] = LEVELS
    band = max(1, BATCH_LOGITS // (num_classes * (width + 1) * 4))  # rows of cells, 4 corners each
    for top in range(0, height + 1, band):
        corners, count = _classes_that_matter(nodes[:, top : top + band + 1])
        for k in np.unique(count[count > 1]):
            members = np.flatnonzero(count == k)
            batches = -(-len(members) * k * cell_pixels // BATCH_LOGITS)
            for cell in np.array_split(members, min(batches, len(members))):
                row, column = np.divmod(cell, width + 1)
                row += top
                down, across = rows.weight[row], columns.weight[column]
                for tile, i, j in zip(
                    _winner_share(corners[cell, :, :k], down, across), row, column
                ):
                    y = slice(rows.edges[i], rows.edges[i + 1])
                    x = slice(columns.edges[j], columns.edges[j + 1])
                    confidence[y, x] = tile[: y.stop - y.start, : x.stop - x.start]


def _cells(num_nodes: int, num_pixels: int) -> Cells:
    position = pixel_positions(num_nodes, num_pixels)
    node = np.floor(position)
    edges = np.searchsorted(node, np.arange(-1, num_nodes + 1))
    pixel = edges[:-1, None] + np.arange(np.diff(edges).max())
    return Cells(edges, (position - node)[np.minimum(pixel, num_pixels - 1)])


def _classes_that_matter(nodes: Floats) -> tuple[Floats, Ints]:
    """The corners of the n = (r - 1) * (c - 1) cells between nodes (C, r, c).

    Returns their logits (n, 4, C), likeliest classes first, relative to a lower bound of the
    largest one; and how many classes matter in each cell (n,): the others together stay below
    NEGLIGIBLE times the winner.
    """
    top, bottom = nodes[:, :-1], nodes[:, 1:]
    corners = np.stack([top[..., :-1], top[..., 1:], bottom[..., :-1], bottom[..., 1:]])
    corners = corners.reshape(4, len(nodes), -1).transpose(2, 0, 1)

    # Any weighted mean of classes is at most their largest, everywhere in the cell. That of the
    # four corners' winners is close to it even where one class takes over from another.
    winners = corners.argmax(2)  # (n, 4)
    reference = np.take_along_axis(corners, winners[:, None], 2).mean(2, keepdims=True)
    corners = corners - reference
    bound = np.exp2(np.minimum(corners.max(1), 0))  # (n, C) of each class's ratio to the winner

    order = np.argsort(-bound, 1)
    corners = np.take_along_axis(corners, order[:, None], 2)
    rest = np.cumsum(np.take_along_axis(bound, order[:, ::-1], 1), 1)[:, ::-1]
    return corners, np.count_nonzero(rest > NEGLIGIBLE, 1)


def _winner_share(corners: Floats, down: Floats, across: Floats) -> Bytes:
    """The winner's softmax probability x 255 in n cells of R x W pixels: (n, R, W).

    corners (n, 4, K): logits at top left, top right, bottom left, bottom right, times LOG2_E
    down    (n, R):    weight of the bottom corners
    across  (n, W):    weight of the right corners
    """
    num_cells, _, num_classes = corners.shape
    top_left, top_right, bottom_left, bottom_right = corners.transpose(1, 0, 2)[..., None]
    share = np.empty((num_cells, down.shape[1], across.shape[1]), np.uint8)
    step = max(1, BATCH_LOGITS // (num_cells * num_classes * across.shape[1]))  # a cell may be huge
    for y in range(0, down.shape[1], step):
        weight = down[:, None, y : y + step]
        left = top_left + (bottom_left - top_left) * weight  # (n, K, R)
        right = top_right + (bottom_right - top_right) * weight
        logits = (right - left)[..., None] * across[:, None, None]  # (n, K, R, W)
        logits += left[..., None]
        logits -= logits.max(1, keepdims=True)
        total = np.exp2(logits, out=logits).sum(1)
        share[:, y : y + step] = np.rint(LEVELS / total)
    return share

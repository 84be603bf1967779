"""Outlines with fewer points, which neighbouring regions still share.

An outline along the edges of pixels is all steps. So a line is drawn through the middles of those
edges, which leaves the centre of every pixel on its side, and then simplified (Douglas and Peucker,
1973). Where outlines meet they keep their vertex, and a line between two such vertices is the same
from either side: neighbours share it, without gap or overlap. docs/algorithms.md has drawings.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from imaging.export.outlines import Bools, Floats, Ints, Outlines, following_points, ring_areas

# Pixels from a point that is dropped to the line that is drawn instead, at most.
TOLERANCE: Final = 0.5

# Area that a region may gain and lose, as a share of its own; beyond that it keeps all its points.
# On masks of a trained network every class, rasterised again, then has an intersection over union
# of at least 0.997 with the original; without this limit, 0.97.
MAX_CHANGE: Final = 0.01


class Rings(NamedTuple):
    """R rings, as in `Outlines`, with points at whole and half pixels."""

    x: Floats  # (P,)
    y: Floats  # (P,)
    starts: Ints  # (R + 1,)


class Line(NamedTuple):
    """All points that rings may pass through, in half pixels; a ring's last equals its first."""

    x: Ints  # (P,)
    y: Ints  # (P,)
    fixed: Bools  # (P,) whether the ring must pass here
    starts: Ints  # (R + 1,)

    @property
    def number(self) -> Ints:
        """(P,) the same for points at the same place, in whichever ring."""
        number: Ints = self.y * (self.x.max(initial=0) + 1) + self.x
        return number


def simplify(outlines: Outlines, tolerance: float = TOLERANCE) -> Rings:
    """The rings of `outlines`, in their order, with fewer points."""
    line = through_middles(outlines)
    kept = douglas_peucker(line, 2 * tolerance)

    num_rings = len(outlines.labels)
    change = np.add.reduceat(_areas_beside(line, kept), line.starts[:-1]) / 4
    areas = ring_areas(outlines.x, outlines.y, outlines.starts)
    change_of_region = np.bincount(outlines.outer, change, num_rings)
    area_of_region = np.bincount(outlines.outer, areas, num_rings)
    is_exact = (change_of_region > MAX_CHANGE * area_of_region)[outlines.outer]
    exact_points = line.number[np.repeat(is_exact, np.diff(line.starts))]
    kept |= np.isin(line.number, exact_points)  # in the rings on the other side as well

    kept[line.starts[1:] - 1] = False  # equal to the first point of the ring
    num_kept = np.add.reduceat(kept, line.starts[:-1], dtype=np.int64)
    return Rings(line.x[kept] / 2, line.y[kept] / 2, np.append(0, np.cumsum(num_kept)))


def through_middles(outlines: Outlines) -> Line:
    """The middles of the pixels' edges along the rings where the line bends, and fixed vertices.

    Fixed are the vertices where outlines meet, the corners of the image, and where a ring begins:
    otherwise a ring without any such vertex would begin elsewhere for the region on its other side.
    """
    x, y = 2 * outlines.x, 2 * outlines.y
    following = following_points(outlines.starts)
    along_x, along_y = x[following] - x, y[following] - y
    step_x, step_y = np.sign(along_x), np.sign(along_y)
    is_long = np.abs(along_x + along_y) > 2  # two middles: of the first pixel and of the last
    is_corner = ((x == 0) | (x == x.max())) & ((y == 0) | (y == y.max()))
    fixed = outlines.meets | is_corner
    fixed[outlines.starts[:-1]] = True

    def interleaved(vertex: Ints, first: Ints, last: Ints) -> Ints:
        both: Ints = np.stack([vertex, first, last], axis=1)[used]
        return both

    used = np.stack([fixed, np.ones_like(fixed), is_long], axis=1)
    all_x = interleaved(x, x + step_x, x[following] - step_x)
    all_y = interleaved(y, y + step_y, y[following] - step_y)
    is_vertex = np.stack([fixed, np.zeros_like(fixed), np.zeros_like(fixed)], axis=1)[used]
    starts = _starts(used.sum(axis=1), outlines.starts)

    following = following_points(starts)
    to_x, to_y = all_x[following] - all_x, all_y[following] - all_y
    from_x, from_y = np.empty_like(to_x), np.empty_like(to_y)
    from_x[following], from_y[following] = to_x, to_y
    bends = is_vertex | (from_x * to_y != from_y * to_x)
    starts = _starts(bends, starts)
    closed = np.insert(np.flatnonzero(bends), starts[1:], np.flatnonzero(bends)[starts[:-1]])
    starts = starts + np.arange(len(starts))
    fixed = is_vertex[closed]
    return Line(all_x[closed], all_y[closed], fixed, starts)


def _starts(counts: Ints | Bools, starts: Ints) -> Ints:
    """Where rings start once each of their points is replaced by `counts` (P,) points."""
    return np.append(0, np.cumsum(counts, dtype=np.int64))[starts]


def douglas_peucker(line: Line, tolerance: float) -> Bools:
    """(P,) which points to keep, for all stretches between fixed points at once, level by level.

    Everything but the tolerance itself is in whole numbers, and of points that are equally far the
    one with the lowest number is taken, so both directions give the same result.
    """
    x, y, number = line.x, line.y, line.number
    kept: Bools = line.fixed.copy()
    ends = np.flatnonzero(kept)
    first, last = ends[:-1], ends[1:]
    while True:
        long = last - first > 1
        first, last = first[long], last[long]
        if len(first) == 0:
            return kept
        num_between = last - first - 1
        offsets = np.cumsum(num_between) - num_between
        stretch = np.repeat(np.arange(len(first)), num_between)
        between = np.arange(len(stretch)) + (first + 1 - offsets)[stretch]

        length = (x[last] - x[first]) ** 2 + (y[last] - y[first]) ** 2  # squared
        distance = _distances(x, y, first[stretch], last[stretch], between)
        farthest = np.maximum.reduceat(distance, offsets)
        numbers = np.where(distance == farthest[stretch], number[between], np.iinfo(np.int64).max)
        lowest = np.minimum.reduceat(numbers, offsets)
        chosen = between[numbers == lowest[stretch]]

        # A stretch that ends where it began is split in any case.
        splits = (farthest > tolerance**2 * length) | (length == 0)
        first, chosen, last = first[splits], chosen[splits], last[splits]
        kept[chosen] = True
        first, last = np.concatenate([first, chosen]), np.concatenate([chosen, last])


def _distances(x: Ints, y: Ints, first: Ints, last: Ints, point: Ints) -> Ints:
    """Squared distances of points from segments, times the segments' squared lengths (1 for 0).

    64 bits hold them for an image of 20 000 x 2 500 pixels, and for less oblong ones of that area.
    """
    to_x, to_y = x[last] - x[first], y[last] - y[first]
    from_x, from_y = x[point] - x[first], y[point] - y[first]
    length = to_x**2 + to_y**2
    along = from_x * to_x + from_y * to_y
    beside = (from_x * to_y - from_y * to_x) ** 2
    before = (from_x**2 + from_y**2) * np.maximum(length, 1)
    beyond = ((x[point] - x[last]) ** 2 + (y[point] - y[last]) ** 2) * length
    inside: Ints = np.where(along > length, beyond, beside)
    return np.where((along < 0) | (length == 0), before, inside)


def _areas_beside(line: Line, kept: Bools) -> Floats:
    """(P,) an upper bound of the area between the step from each point and the line drawn instead.

    In squared half pixels.
    """
    x, y = line.x, line.y
    position = np.arange(len(x))
    first = np.maximum.accumulate(np.where(kept, position, 0))[:-1]
    last = np.minimum.accumulate(np.where(kept, position, len(x) - 1)[::-1])[::-1][1:]
    to_x, to_y = x[last] - x[first], y[last] - y[first]

    def beside(point: Ints) -> Ints:
        distance: Ints = np.abs((x[point] - x[first]) * to_y - (y[point] - y[first]) * to_x)
        return distance

    here, there = position[:-1], position[1:]
    along = np.abs((x[there] - x[here]) * to_x + (y[there] - y[here]) * to_y)
    length = np.maximum(to_x**2 + to_y**2, 1)
    area: Floats = (beside(here) + beside(there)) * along / (2 * length)
    return np.append(area, 0.0)

"""Rings and polygons, held to their plain twin and to shapely's and pycocotools' reading."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from imaging.export.outlines import Outlines, outlines, outlines_plain, ring_areas
from imaging.export.polygons import Polygon, class_polygons, coco_polygons
from imaging.export.simplify import TOLERANCE, Line, douglas_peucker, simplify, through_middles
from imaging.mask.class_mask import class_mask

# pycocotools' decode predates NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
MASKS = arrays(np.uint8, SHAPES, elements=st.integers(0, 2))


Vertex = tuple[int, int, bool]  # x, y, and whether outlines meet there


def ring(found: Outlines, number: int) -> list[tuple[int, int]]:
    part = slice(*found.starts[number : number + 2])
    return list(zip(found.x[part].tolist(), found.y[part].tolist(), strict=True))


def rotated(found: Outlines, number: int) -> list[Vertex]:
    """The vertices of a ring, with whether outlines meet there, from the lowest one on."""
    part = slice(*found.starts[number : number + 2])
    vertices = [*zip(*(field[part].tolist() for field in found[:3]), strict=True)]
    first = vertices.index(min(vertices))
    return vertices[first:] + vertices[:first]


def ring_set(found: Outlines) -> list[tuple[int, list[Vertex], list[Vertex]]]:
    """Label, ring and its outer ring, whatever their order."""
    return sorted(
        (int(label), rotated(found, number), rotated(found, outer))
        for number, (label, outer) in enumerate(zip(found.labels, found.outer, strict=True))
    )


def exact_polygons(mask: np.ndarray) -> dict[int, list[Polygon]]:
    """`class_polygons` without simplification."""
    found = outlines(mask)
    polygons: dict[int, list[Polygon]] = {}
    for number in np.flatnonzero(found.outer == np.arange(len(found.outer))).tolist():
        of_polygon = np.flatnonzero(found.outer == number).tolist()
        members = [number, *(k for k in of_polygon if k != number)]
        polygon = [np.array(ring(found, k), np.float64) for k in members]
        polygons.setdefault(int(found.labels[number]), []).append(polygon)
    return polygons


def multi_polygon(polygons: list[Polygon]) -> shapely.MultiPolygon:
    return shapely.MultiPolygon([shapely.Polygon(outer, holes) for outer, *holes in polygons])


def rasterised(polygons: list[Polygon], shape: tuple[int, int]) -> np.ndarray:
    rles = coco.frPyObjects(coco_polygons(polygons), *shape)
    return coco.decode(coco.merge(rles)).astype(bool)


def test_a_square_with_a_hole() -> None:
    mask = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0]], np.uint8)
    (square,) = exact_polygons(mask)[1]
    assert [part.tolist() for part in square] == [
        [[1, 4], [1, 1], [4, 1], [4, 4]],  # begins where it meets the image's edge
        [[2, 2], [2, 3], [3, 3], [3, 2]],
    ]


def test_neighbours_have_the_vertex_where_they_meet() -> None:
    found = outlines(np.array([[0, 0], [1, 2]], np.uint8))
    (upper,) = np.flatnonzero(found.labels == 0).tolist()
    assert ring(found, upper) == [(0, 1), (0, 0), (2, 0), (2, 1), (1, 1)]
    # (1, 1) for all three; (0, 1), (2, 1) and (1, 2), at the image's edge, for two each.
    assert found.meets.sum() == 9


@given(MASKS)
def test_rings_are_those_of_the_plain_twin(mask: np.ndarray) -> None:
    found, plain = outlines(mask), outlines_plain(mask)
    assert ring_set(found) == ring_set(plain)
    assert [field.dtype for field in found] == [field.dtype for field in plain]


@given(MASKS)
def test_rings_begin_where_outlines_meet_or_at_the_top_left(mask: np.ndarray) -> None:
    found = outlines(mask)
    for number, start in enumerate(found.starts[:-1]):
        part = slice(start, found.starts[number + 1])
        if found.meets[part].any():
            assert found.meets[start]
        else:
            vertices = zip(found.y[part].tolist(), found.x[part].tolist(), strict=True)
            assert (found.y[start], found.x[start]) == min(vertices)


def test_a_region_that_touches_itself_by_a_corner() -> None:
    """Its hole is a ring of its own, which touches the outer one in a point."""
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.uint8)
    for found in (outlines(mask), outlines_plain(mask)):
        rings = {frozenset(ring(found, k)) for k in np.flatnonzero(found.labels == 1).tolist()}
        assert rings == {
            frozenset([(0, 0), (3, 0), (3, 2), (2, 2), (2, 3), (0, 3)]),
            frozenset([(1, 1), (1, 2), (2, 2), (2, 1)]),
        }


@given(MASKS)
def test_exact_rings_are_the_regions(mask: np.ndarray) -> None:
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    polygons = exact_polygons(mask)
    assert set(polygons) == set(np.unique(mask))
    for label, of_class in polygons.items():
        shape = multi_polygon(of_class)
        assert shape.is_valid, shapely.is_valid_reason(shape)
        assert shape.area == (mask == label).sum()
        np.testing.assert_array_equal(shapely.contains_xy(shape, columns, rows), mask == label)
        for polygon in of_class:
            assert [shapely.LinearRing(part).is_ccw for part in polygon] == [
                True,
                *[False] * (len(polygon) - 1),
            ]


@given(MASKS)
def test_exact_rings_as_pycocotools_fills_them(mask: np.ndarray) -> None:
    for label, polygons in exact_polygons(mask).items():
        np.testing.assert_array_equal(rasterised(polygons, mask.shape), mask == label)


@given(MASKS)
def test_a_region_of_few_pixels_is_drawn_as_it_is(mask: np.ndarray) -> None:
    """Every point that is dropped would change too much of its area."""
    for label, polygons in class_polygons(mask).items():
        assert multi_polygon(polygons).is_valid
        np.testing.assert_array_equal(rasterised(polygons, mask.shape), mask == label)


def test_areas() -> None:
    found = outlines(np.eye(3, dtype=np.uint8).repeat(2, axis=0).repeat(2, axis=1))
    areas = ring_areas(found.x, found.y, found.starts)
    assert sorted(areas.tolist()) == [4, 4, 4, 12, 12]


@pytest.fixture(scope="module")
def blobs() -> np.ndarray:
    """Five classes with smooth borders, as a network's upsampled logits have them."""

    logits = torch.randn(1, 5, 9, 12, generator=torch.Generator().manual_seed(3))
    return class_mask(logits, (720, 960))[0].numpy()


def test_simplified_polygons_are_close(blobs: np.ndarray) -> None:
    found = outlines(blobs)
    assert len(simplify(found).x) < 0.5 * len(found.x)
    exact = exact_polygons(blobs)
    for label, polygons in class_polygons(blobs).items():
        drawn, true = rasterised(polygons, blobs.shape), blobs == label
        assert (drawn & true).sum() / (drawn | true).sum() >= 0.99
        border, exact_border = (multi_polygon(p).boundary for p in (polygons, exact[label]))
        # A corner is 0.7 pixels from the far middles of its pixels' edges, which may be dropped.
        assert shapely.hausdorff_distance(border, exact_border) <= 0.5**0.5 + TOLERANCE


def plain_douglas_peucker(line: Line, first: int, last: int, tolerance: float) -> set[int]:
    """The points to keep between two that are kept; of equally far ones that of lowest number."""
    between = range(first + 1, last)
    if not between:
        return set()
    begin, end = (complex(line.x[k], line.y[k]) for k in (first, last))
    chord = shapely.LineString([(begin.real, begin.imag), (end.real, end.imag)])
    far = {k: shapely.Point(line.x[k], line.y[k]).distance(chord) for k in between}
    largest = max(far.values())
    if largest <= tolerance and begin != end:
        return set()
    equals = [k for k in between if far[k] > largest - 1e-9]
    chosen = min(equals, key=lambda k: int(line.number[k]))
    return {chosen}.union(
        plain_douglas_peucker(line, first, chosen, tolerance),
        plain_douglas_peucker(line, chosen, last, tolerance),
    )


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@given(MASKS, st.sampled_from([0.6, 1.1, 2.3]))
def test_douglas_and_peucker_level_by_level(mask: np.ndarray, tolerance: float) -> None:
    line = through_middles(outlines(mask))
    expected = set(np.flatnonzero(line.fixed).tolist())
    for first, last in zip(sorted(expected), sorted(expected)[1:], strict=False):
        expected |= plain_douglas_peucker(line, first, last, tolerance)
    assert set(np.flatnonzero(douglas_peucker(line, tolerance)).tolist()) == expected


def test_simplified_neighbours_share_their_lines(blobs: np.ndarray) -> None:
    """They fill the image without gap or overlap."""
    shapes = [multi_polygon(polygons) for polygons in class_polygons(blobs).values()]
    assert all(shape.is_valid for shape in shapes)
    assert sum(shape.area for shape in shapes) == pytest.approx(blobs.size, rel=1e-9)
    assert shapely.union_all(shapes).area == pytest.approx(blobs.size, rel=1e-9)

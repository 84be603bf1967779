"""A mask as polygons with holes, in pixels from the image's upper left corner, y downwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from imaging.export.outlines import Labels, outlines
from imaging.export.simplify import simplify
from imaging.export.summary import ClassSummary

Ring = npt.NDArray[np.float64]  # (P, 2) x and y; the last point is joined to the first
Polygon = list[Ring]  # the outer ring, then the holes


class Feature(TypedDict):
    """One class as a GeoJSON feature."""

    type: str
    id: int
    properties: Mapping[str, object]
    geometry: Mapping[str, object]


def class_polygons(mask: Labels) -> dict[int, list[Polygon]]:
    """(H, W) class ids -> by class id, a polygon for each region.

    Rings do not cross, except that two sides of a region less than a pixel wide may.
    """
    found = outlines(mask)
    x, y, starts = simplify(found)
    rings = np.split(np.stack([x, y], axis=1), starts[1:-1])
    polygons: dict[int, list[Polygon]] = {}
    regions: dict[int, Polygon] = {}
    for number, outer in enumerate(found.outer.tolist()):
        if number == outer:
            regions[number] = [rings[number]]
            polygons.setdefault(int(found.labels[number]), []).append(regions[number])
    for number, outer in enumerate(found.outer.tolist()):
        if number != outer:
            regions[outer].append(rings[number])
    return polygons


def coco_polygons(polygons: Sequence[Polygon]) -> list[list[float]]:
    """[[x1, y1, x2, y2, ...], ...], in which a hole is joined to the outer ring by a cut.

    The cut has no width: the ring follows it to the hole and back. Programs that fill by the
    even-odd rule, pycocotools and OpenCV among them, leave the hole out.
    """
    return [_cut_open(polygon).ravel().tolist() for polygon in polygons]


def geojson_feature(entry: ClassSummary, polygons: Sequence[Polygon]) -> Feature:
    """A MultiPolygon in pixels instead of degrees, otherwise as in RFC 7946."""
    return {
        "type": "Feature",
        "id": entry["id"],
        "properties": {
            key: entry[key]
            for key in ("label", "colour", "pixels", "fraction", "bbox", "confidence")
        },
        "geometry": {
            "type": "MultiPolygon",
            "coordinates": [
                [np.concatenate([ring, ring[:1]]).tolist() for ring in polygon]
                for polygon in polygons
            ],
        },
    }


def _cut_open(polygon: Polygon) -> Ring:
    """One ring for a polygon with holes, each joined by its left end to the nearest point."""
    whole, *holes = polygon
    for hole in sorted(holes, key=lambda ring: float(ring[:, 0].min())):
        begin = int(hole[:, 0].argmin())
        nearest = int(((whole - hole[begin]) ** 2).sum(axis=1).argmin())
        walk = np.concatenate([hole[begin:], hole[: begin + 1]])
        whole = np.concatenate([whole[: nearest + 1], walk, whole[nearest:]])
    return whole

"""A GeoJSON FeatureCollection (RFC 7946) in pixel coordinates: a feature for each class."""

from __future__ import annotations

from imaging.export.json_arrays import json_bytes
from imaging.export.polygons import geojson_feature
from serving.response.encoder_input import EncoderInput


def feature_collection(content: EncoderInput) -> bytes:
    polygons = content.polygons
    features = [geojson_feature(entry, polygons[entry["id"]]) for entry in content.objects]
    return json_bytes({"type": "FeatureCollection", "features": features})

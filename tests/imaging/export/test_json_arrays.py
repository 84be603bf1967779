"""Vectorised JSON, held to what `json` writes of the same numbers."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from imaging.export.json_arrays import class_probability_json, joined_numbers, json_bytes

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)


@given(st.lists(st.integers(0, 70_000), max_size=50))
def test_numbers(values: list[int]) -> None:
    assert b"[" + joined_numbers(np.array(values, np.int32)) + b"]" == json.dumps(
        values, separators=(",", ":")
    ).encode("ascii")


def test_arrays_inside_other_json() -> None:
    mask = np.array([[0, 12], [255, 3]], np.uint8)
    content = {"label": "road", "data": mask, "more": [mask[:1], None], "empty": mask[:0]}
    assert json_bytes(content) == (
        b'{"label":"road","data":[0,12,255,3],"more":[[0,12],null],"empty":[]}'
    )


def plain_pairs(mask: np.ndarray, confidence: np.ndarray) -> bytes:
    pairs = [
        [[int(index), round(int(level) / 255, 3)] for index, level in zip(*row, strict=True)]
        for row in zip(mask, confidence, strict=True)
    ]
    return json.dumps(pairs, separators=(",", ":")).encode("ascii")


@given(st.data(), SHAPES, st.sampled_from([(np.uint8, 255), (np.int32, 400)]))
def test_pairs(data: st.DataObject, shape: tuple[int, int], kind: tuple[type, int]) -> None:
    dtype, last_class = kind
    mask = data.draw(arrays(dtype, shape, elements=st.integers(0, last_class)))
    confidence = data.draw(arrays(np.uint8, shape))
    assert class_probability_json(mask, confidence) == plain_pairs(mask, confidence)


def test_literal_pairs() -> None:
    mask = np.array([[15, 0], [7, 7]], np.uint8)
    confidence = np.array([[255, 128], [0, 1]], np.uint8)
    assert class_probability_json(mask, confidence) == (
        b"[[[15,1.0],[0,0.502]],[[7,0.0],[7,0.004]]]"
    )

"""Lists of numbers in JSON: pixels and files, without an object for every number."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import RequestError
from serving.request.json_body import parse_json
from serving.request.numbers import PIECE, NumberList

ALL = bytes(range(256))


def numbers_in(text: str) -> bytes:
    document = parse_json(text.encode())
    assert isinstance(document, dict)
    assert isinstance(document["data"], NumberList)
    return document["data"].as_bytes()


@pytest.mark.parametrize("listed", ["[1,2,3]", "[[1], [2,\n3]]", "[ 1 , 2 , 3 ]", "[[[[1,2,3]]]]"])
def test_flat_or_nested(listed: str) -> None:
    assert numbers_in(f'{{"data" : {listed}, "shape": [3]}}') == b"\1\2\3"


def test_none() -> None:
    assert numbers_in('{"data":[]}') == b""


@pytest.mark.parametrize(
    "listed",
    [
        "[256]",
        "[-1]",
        "[0.5]",
        "[1.0]",
        "[99999999999999999999]",
        "[1,,2]",
        "[1 2]",
        "[1,]",
        "[,]",
        "[1e999]",
        "[--1]",
        "[1e]",
        "[255,216]]]",
        "[[255,216]",
        "[255],[216]",
        "[1]" + "," * PIECE + "[2]",
    ],
)
def test_what_is_no_byte_is_refused(listed: str) -> None:
    with pytest.raises(RequestError) as caught:
        numbers_in(f'{{"data": {listed}}}')
    assert (caught.value.status, caught.value.code) == (400, "invalid_bytes")


@given(st.binary(max_size=300))
def test_any_bytes_come_back(data: bytes) -> None:
    assert numbers_in(json.dumps({"data": list(data)})) == data


@given(st.text("-+.eE0123456789 ,[]", max_size=30))
def test_any_text_of_numbers_gives_bytes_or_a_request_error(text: str) -> None:
    with suppress(RequestError):
        parse_json(f'{{"data":[{text}]}}'.encode())
        NumberList(text.encode()).as_bytes()


def test_other_lists_stay_lists() -> None:
    text = '{"shape": [1, 2], "x": "\\"data\\": [1]", "data": ["a", 1], "y": {"data": "text"}}'
    assert parse_json(text.encode()) == json.loads(text)


def test_many_lists_are_no_way_around_the_limit() -> None:
    for element in (b'{"data":[1]}', b'{"data":[]}'):
        with pytest.raises(RequestError) as caught:
            parse_json(b"[" + b",".join([element] * 100_000) + b"]")
        assert caught.value.code == "json_too_complex"


def test_more_pixels_than_pieces_in_little_memory() -> None:
    data = ALL * 8192  # 2 MB, 7 MB as text
    text = json.dumps({"data": list(data)}).encode()
    assert len(text) > 4 * PIECE
    tracemalloc.start()
    document = parse_json(text)
    assert isinstance(document, dict)
    listed = document["data"].as_bytes()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(np.frombuffer(listed, np.uint8), np.frombuffer(data, np.uint8))
    assert peak < 5 * len(text)

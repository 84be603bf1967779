from __future__ import annotations

import pytest

from serving.errors import RequestError
from serving.request.options import header_options, read_options
from serving.types import Options

LABELS = ("sky", "car", "7", "traffic light")


def options(**values: object) -> Options:
    return read_options([values], LABELS)


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("car", {1}),
        (b" sky , car,", {0, 1}),
        (bytearray(b"traffic light,0"), {0, 3}),
        (["car", 3], {1, 3}),
        (1, {1}),
        ("7", {2}),  # a label goes before an id
        ("2,7", {2}),
    ],
)
def test_classes_by_label_or_id(value: object, ids: set[int]) -> None:
    assert options(classes=value).classes == ids


def test_lists_have_an_end() -> None:
    assert options(classes="0," * 65_536).classes == {0}
    with pytest.raises(RequestError, match="is no class of this model") as caught:
        options(classes="0," * 10_000_000)
    assert len(caught.value.message) < 300
    with pytest.raises(RequestError, match="Send a probability"):
        options(threshold="0." + "1" * 10_000_000)


def test_a_deeply_nested_value_is_refused_by_its_type() -> None:
    nested: list[object] = []
    for _ in range(20_000):
        nested = [nested]
    with pytest.raises(RequestError, match="a list is no class"):
        options(classes=nested)
    with pytest.raises(RequestError, match="The threshold is a list"):
        options(threshold=nested)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Car", "'Car'"),
        ("car,tram", "'tram'"),
        (4, "4"),
        (-1, "-1"),
        (True, "True"),
        (1.0, "1.0"),
        ([], "an empty list"),
        (",", "an empty list"),
        ([["car"]], "a list"),
        ({"car": 1}, "an object"),
        ("\u00e9", "'\\xe9'"),
        ("9" * 5000, "9" * 50),
    ],
)
def test_what_is_no_class_is_named(value: object, shown: str) -> None:
    with pytest.raises(RequestError) as caught:
        options(classes=value)
    assert (caught.value.status, caught.value.code) == (400, "unknown_class")
    assert shown in caught.value.message
    assert "3 traffic light" in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("value", "threshold"), [("0.5", 0.5), (b" .25 ", 0.25), (0, 0.0), (1, 1.0), (0.1, 0.1)]
)
def test_threshold(value: object, threshold: float) -> None:
    assert options(threshold=value).threshold == threshold


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("half", "'half'"),
        ("50%", "'50%'"),
        ("nan", "'nan'"),
        ("1e999", "'1e999'"),
        (1.5, "1.5"),
        (-0.1, "-0.1"),
        (True, "True"),
        ([0.5], "a list"),
        (10**400, "1000"),
    ],
)
def test_what_is_no_probability_is_named(value: object, shown: str) -> None:
    with pytest.raises(RequestError) as caught:
        options(threshold=value)
    assert (caught.value.status, caught.value.code) == (400, "invalid_threshold")
    assert shown in caught.value.message


@pytest.mark.parametrize("value", [None, "", b" ", bytearray()])
def test_nothing_is_no_option(value: object) -> None:
    assert options(classes=value, threshold=value) == Options()


def test_the_first_source_that_has_one() -> None:
    headers = header_options({"x-segmenter-classes": "sky", "x-segmenter-threshold": "0.3"})
    assert read_options([{"classes": ""}, {"classes": "car"}, headers], LABELS) == Options(
        frozenset({1}), 0.3
    )

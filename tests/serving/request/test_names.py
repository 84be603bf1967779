"""Names that the service does not know are refused, with the one that was meant."""

from __future__ import annotations

import difflib
import json
from types import SimpleNamespace

import pytest

from serving.errors import RequestError
from serving.request.names import MAX_LOOKED_UP, nearest, unique
from serving.request.parse import parse_request
from serving.request.query import query_parameters
from serving.types import HttpRequest, SegmentationRequest

LABELS = ("road", "car")
V2 = {"inputs": [{"name": "i", "shape": [1], "datatype": "BYTES", "data": [""]}]}


def parsed(document: object, query: str = "", **headers: str) -> SegmentationRequest:
    headers = {"content-type": "application/json", **headers}
    parts = {"body": json.dumps(document).encode()}
    request = parse_request(HttpRequest("", headers, parts, query=query), LABELS)
    assert isinstance(request, SegmentationRequest)
    return request


def refusal(document: object, query: str = "", **headers: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parsed(document, query, **headers)
    assert caught.value.status == 400
    assert caught.value.message.isascii()
    return caught.value


@pytest.mark.parametrize(
    ("document", "name", "meant"),
    [
        ({"image": "", "treshold": 1}, "treshold", "threshold"),
        ({"imge": ""}, "imge", "image"),
        ({"image": "", "Output": "json"}, "Output", "output"),
        ({"image": "", "parameters": {"class": 1}}, "class", "classes"),
        ({"instances": [{"b64": ""}], "outputs": []}, "outputs", "output"),
        ({"instances": [{"b64": "", "thresholds": 1}]}, "thresholds", None),
        ({"inputs": "", "parameters": {"mask_threshold": 0.5}}, "mask_threshold", "threshold"),
        ({**V2, "output": "json", "modelname": "x"}, "modelname", "model_name"),
        ({"inputs": [{**V2["inputs"][0], "dtype": "x"}]}, "dtype", "datatype"),
        ({"image": "", "\u00e9": 1}, "\\xe9", None),
    ],
)
def test_an_unknown_key(document: object, name: str, meant: str | None) -> None:
    error = refusal(document)
    assert error.code == "unknown_name"
    assert f"'{name}'" in error.message
    assert error.details["nearest"] == meant


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [{"image_bytes": {"b64": ""}}], "signature_name": "serving_default"},
        {**V2, "model_name": "another", "model_version": "9", "id": "1"},
        {**V2, "parameters": {"binary_data_output": False, "priority": 1, "content_type": "np"}},
        {"inputs": "", "parameters": {"subtask": "semantic", "threshold": 0}, "options": {}},
        {"image": {"type": "Buffer", "data": []}, "parameters": {"output": "json"}},
    ],
)
def test_what_real_clients_add_is_known(document: object) -> None:
    assert parsed(document).images[0].data == b""


def test_similar_names_are_looked_up_for_the_first_keys_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[str] = []

    def noting(name: str, known: list[str], count: int, cutoff: float) -> list[str]:
        compared.append(name)
        return difflib.get_close_matches(name, known, count, cutoff)

    monkeypatch.setattr("serving.request.names.difflib", SimpleNamespace(get_close_matches=noting))
    keys = {f"{index:x<5}": 0 for index in range(1000)}
    assert refusal(keys).code == "image_missing"
    assert len(compared) == MAX_LOOKED_UP
    assert refusal({**keys, "threshold": 1}).code == "unknown_name"  # known keys count wherever


def test_another_subtask_of_hugging_faces() -> None:
    assert refusal({"inputs": "", "parameters": {"subtask": "panoptic"}}).code == "unknown_subtask"


def test_an_output_in_the_parameters() -> None:
    assert parsed({"inputs": "", "parameters": {"output": "coco"}}).outputs == ("coco",)


def test_a_key_that_comes_twice() -> None:
    headers = {"content-type": "application/json"}
    body = b'{"image": "", "threshold": 0.1, "threshold": 0.9}'
    with pytest.raises(RequestError) as caught:
        parse_request(HttpRequest("", headers, {"body": body}), LABELS)
    assert caught.value.code == "repeated_name"


def test_an_unknown_header_of_ours() -> None:
    error = refusal({"image": ""}, **{"x-segmenter-treshold": "0.5"})
    assert error.code == "unknown_name"
    assert error.details["nearest"] == "x-segmenter-threshold"


class TestQuery:
    def test_options(self) -> None:
        request = parsed({"image": ""}, "output=json&threshold=0.5&classes=ro%61d%2C1")
        assert (request.outputs, request.options.threshold) == (("json",), 0.5)
        assert request.options.classes == {0, 1}

    def test_the_document_goes_first_and_headers_last(self) -> None:
        header = {"x-segmenter-output": "npy", "x-segmenter-threshold": "0.9"}
        request = parsed({"image": "", "output": "coco"}, "output=json&threshold=0.5", **header)
        assert (request.outputs, request.options.threshold) == (("coco",), 0.5)
        assert parsed({"image": ""}, "output=json", **header).outputs == ("json",)

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("treshold=0.5", "unknown_name"),
            ("classes[]=car", "unknown_name"),
            ("classes=car&classes=road", "repeated_name"),
            ("&".join(["output=json"] * 65), "unknown_name"),
            ("classes=unicorn", "unknown_class"),
            ("output=", ""),
            ("", ""),
            ("model_name=segmenter&output=mask", ""),
        ],
    )
    def test_what_is_refused(self, query: str, code: str) -> None:
        if code:
            assert refusal({"image": ""}, query).code == code
        else:
            assert parsed({"image": ""}, query).images[0].data == b""

    def test_percent_encoding_that_is_none(self) -> None:
        assert query_parameters("classes=%zz+%C3%A9") == {"classes": "%zz \u00e9"}


def test_pairs_as_an_engine_shows_them() -> None:
    assert unique([("image", 1), ("output", 2)], "form field") == {"image": 1, "output": 2}
    with pytest.raises(RequestError, match="two of the form field 'image'"):
        unique([("image", 1), ("image", 2)], "form field")


@pytest.mark.parametrize(
    ("name", "meant"), [("Classes", "classes"), ("photo", None), ("x" * 100_000, None)]
)
def test_nearest(name: str, meant: str | None) -> None:
    assert nearest(name, ("output", "classes", "threshold")) == meant

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from imaging.errors import ImageError, ImageTooLarge, UnreadableImage, UnsupportedImage
from serving.errors import (
    RequestError,
    client_error,
    in_form_of,
    internal_error,
    out_of_memory,
    queue_full,
)
from serving.types import ErrorResponse, Response


def error_of(response: Response) -> dict[str, Any]:
    assert response.content_type == "application/json"
    assert response.body.isascii()
    document = json.loads(response.body)
    assert list(document) == ["error"]
    assert list(document["error"])[:2] == ["code", "message"]
    error: dict[str, Any] = document["error"]
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnreadableImage("image_truncated", "It ends early.", bytes=7), 400),
        (ImageTooLarge("image_too_large", "Too many pixels.", width=9, max_pixels=4), 413),
        (UnsupportedImage("unsupported_format", "Not read.", formats=["JPEG"]), 415),
        (ImageError("image_odd", "Odd."), 400),
        (RequestError(406, "not_acceptable", "None.", media_types=["image/png"]), 406),
        (RequestError(400, "invalid_json", "No JSON."), 400),
    ],
)
def test_a_fault_of_the_senders(error: ImageError | RequestError, status: int) -> None:
    response = client_error(error)
    assert response.status == status
    assert error_of(response) == {"code": error.code, "message": error.message, **error.details}


def test_our_own_fault_names_the_request_and_nothing_else() -> None:
    response = internal_error("5d0e4a4c-94a0")
    assert response.status == 500
    assert error_of(response).keys() == {"code", "message", "request_id"}
    assert error_of(response)["request_id"] == "5d0e4a4c-94a0"


@pytest.mark.parametrize("overload", [out_of_memory, queue_full])
def test_overload_says_when_to_come_back(overload: Callable[[], ErrorResponse]) -> None:
    response = overload()
    assert response.status == 503
    assert error_of(response)["code"] == "overloaded"
    assert int(response.headers["Retry-After"]) == error_of(response)["retry_after"] >= 1


@pytest.mark.parametrize("protocol", ["kserve", "open-inference"])
def test_in_kserves_protocols_an_error_is_a_text(protocol: str) -> None:
    error = client_error(RequestError(400, "invalid_json", "No JSON.", a=1))
    response = in_form_of(protocol, error)
    assert (response.status, response.content_type) == (400, "application/json")
    assert json.loads(response.body) == {"error": "invalid_json: No JSON."}
    overloaded = in_form_of(protocol, out_of_memory())
    assert overloaded.headers == out_of_memory().headers


@pytest.mark.parametrize("protocol", [None, "huggingface"])
def test_elsewhere_an_error_is_an_object(protocol: str | None) -> None:
    error = out_of_memory()
    assert in_form_of(protocol, error) == error


def test_what_is_no_error_stays_as_it_is() -> None:
    response = Response.json({"outputs": []})
    assert in_form_of("open-inference", response) == response

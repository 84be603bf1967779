from __future__ import annotations

import json
from typing import Any

import pytest

from imaging.errors import ImageError, ImageTooLarge, UnreadableImage, UnsupportedImage
from serving.errors import RequestError, client_error, internal_error, out_of_memory
from serving.types import Response


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


def test_overload_says_when_to_come_back() -> None:
    response = out_of_memory()
    assert response.status == 503
    assert error_of(response)["code"] == "overloaded"
    assert int(response.headers["Retry-After"]) == error_of(response)["retry_after"] >= 1

from __future__ import annotations

import pytest

from serving.types import Response


def test_json_is_compact_ascii() -> None:
    response = Response.json({"label": "stra\u00dfe", "n": [1, 2]}, 400)
    assert response.body == b'{"label":"stra\\u00dfe","n":[1,2]}'
    assert (response.status, response.content_type) == (400, "application/json")


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Response.json({"score": float("nan")})

"""Compressed bodies, read in bounded memory or refused."""

from __future__ import annotations

import gzip
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import RequestError
from serving.request.content_encoding import MAX_INFLATED, MAX_MEMBERS, decoded
from serving.request.parse import parse_request
from serving.types import HttpRequest, SegmentationRequest

PHOTO = b"\xff\xd8\xff\xe0photo" * 100
GZIP = gzip.compress(PHOTO)


def refusal(body: bytes, coding: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decoded(body, coding)
    return caught.value


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", " gzip "])
def test_gzip(coding: str) -> None:
    assert decoded(GZIP, coding) == PHOTO


def test_members_are_read_as_one() -> None:
    """As bgzip and `cat a.gz b.gz` make them; here across pieces that are inflated at once."""
    noise = random.Random(1).randbytes(150_000)
    assert decoded(gzip.compress(noise) + GZIP + gzip.compress(b""), "gzip") == noise + PHOTO
    assert decoded(gzip.compress(b"x") * MAX_MEMBERS, "gzip") == b"x" * MAX_MEMBERS


@pytest.mark.parametrize("coding", ["", "identity"])
def test_none(coding: str) -> None:
    assert decoded(PHOTO, coding) == PHOTO


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "\u00e9"])
def test_another_coding_is_refused_by_name(coding: str) -> None:
    error = refusal(GZIP, coding)
    assert (error.status, error.code) == (415, "unsupported_encoding")
    assert ascii(coding) in error.message
    assert "gzip" in error.message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (PHOTO, "is not valid gzip"),
        (GZIP[:-1], "ends early"),
        (GZIP[:5], "ends early"),
        (GZIP + b"no gzip", "is not valid gzip"),
        (GZIP + GZIP[:-1], "ends early"),
        (gzip.compress(b"") * (MAX_MEMBERS + 1), "has more than 1024 members"),
        (GZIP[:-8] + bytes(8), "is not valid gzip"),  # its checksum
    ],
)
def test_what_is_not_gzip_is_named(body: bytes, reason: str) -> None:
    error = refusal(body, "gzip")
    assert (error.status, error.code) == (400, "invalid_gzip")
    assert reason in error.message


def test_a_bomb_is_not_inflated_beyond_the_limit() -> None:
    error = refusal(gzip.compress(bytes(MAX_INFLATED + 1)), "gzip")
    assert (error.status, error.code) == (413, "body_too_large")
    assert len(decoded(gzip.compress(bytes(MAX_INFLATED)), "gzip")) == MAX_INFLATED
    half = gzip.compress(bytes(MAX_INFLATED // 2 + 1))
    assert refusal(half + half, "gzip").code == "body_too_large"


def test_a_photo_and_a_document() -> None:
    for body, content_type in ((PHOTO, "image/jpeg"), (b'{"image": "/9j/"}', "application/json")):
        headers = {"content-type": content_type, "content-encoding": "gzip"}
        request = parse_request(HttpRequest("", headers, {"body": gzip.compress(body)}), ())
        assert isinstance(request, SegmentationRequest)
        assert request.images[0].data in (PHOTO, b"\xff\xd8\xff")


@given(st.binary(max_size=60))
def test_any_bytes(body: bytes) -> None:
    with suppress(RequestError):
        decoded(body, "gzip")

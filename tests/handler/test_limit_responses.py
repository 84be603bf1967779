from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import MAX_RECOPIED_BYTES, MAX_RESPONSE_BYTES, READ_BYTES, limit_responses
from serving.types import Response

MEGABYTE = 1_000_000


class Sized(bytes):
    """A body that claims a larger size: only lengths are read."""

    def __new__(cls, size: int) -> Sized:
        body = super().__new__(cls, b"x")
        body.size = size
        return body

    size: int

    def __len__(self) -> int:
        return self.size


def responses(*sizes: int) -> list[Response]:
    return [Response(200, "application/x-npy", Sized(size)) for size in sizes]


def statuses(*sizes: int) -> list[int]:
    return [response.status for response in limit_responses(responses(*sizes))]


def recopied(sent: list[Response]) -> int:
    """Bytes of complete responses that each read of a later one makes TorchServe copy again."""
    sizes = [len(response.body) for response in sent]
    return sum(sum(sizes[:index]) * size // READ_BYTES for index, size in enumerate(sizes))


def test_ordinary_responses_are_sent_as_they_are() -> None:
    batch = responses(*8 * [4 * MEGABYTE])
    assert limit_responses(batch) == batch


def test_one_response_may_be_large() -> None:
    assert statuses(*7 * [1000], 200 * MEGABYTE) == 8 * [200]
    assert statuses(200 * MEGABYTE) == [200]


def test_seven_of_16_megabytes_do_not_end_the_worker() -> None:
    assert statuses(*7 * [16 * MEGABYTE]) == [200, 200, 503, 503, 503, 503, 503]
    response = limit_responses(responses(*7 * [16 * MEGABYTE]))[-1]
    assert json.loads(response.body)["error"]["code"] == "overloaded"
    assert response.headers["Retry-After"] == "2"


def test_small_responses_after_large_ones_are_sent() -> None:
    assert statuses(16 * MEGABYTE, 16 * MEGABYTE, 16 * MEGABYTE, 20_000, 500) == [
        *(200, 200, 503),
        *(200, 200),
    ]


def test_a_response_over_the_limit_is_413() -> None:
    (response,) = limit_responses(responses(11), max_bytes=10)
    assert response.status == 413
    error = json.loads(response.body)["error"]
    assert (error["code"], error["bytes"], error["max_bytes"]) == ("answer_too_large", 11, 10)


@given(st.lists(st.integers(0, 300 * MEGABYTE), max_size=8))
def test_no_batch_is_too_much(sizes: list[int]) -> None:
    sent = limit_responses(responses(*sizes))
    assert len(sent) == len(sizes)
    slack = 8 * sum(sizes) * 300 // READ_BYTES  # the errors' own bodies
    assert recopied(sent) <= MAX_RECOPIED_BYTES + slack


def test_the_limit_is_that_of_config_properties(pytestconfig: pytest.Config) -> None:
    config = (pytestconfig.rootpath / "config.properties").read_text("ascii")
    (line,) = (line for line in config.splitlines() if line.startswith("max_response_size="))
    assert int(line.split("=")[1]) == MAX_RESPONSE_BYTES

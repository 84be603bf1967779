"""A seed gives the same request in every run."""

from __future__ import annotations

from random import Random

import pytest

from scripts.stress.fuzz.hostile_requests import REQUEST_MAKERS, hostile_request


@pytest.mark.parametrize("name", [maker.__name__ for maker in REQUEST_MAKERS])
def test_requests_are_reproducible(name: str) -> None:
    (maker,) = (maker for maker in REQUEST_MAKERS if maker.__name__ == name)
    assert maker(Random(7), 7) == maker(Random(7), 7)
    assert hostile_request(7) == hostile_request(7)

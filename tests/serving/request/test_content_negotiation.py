from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import RequestError
from serving.formats import MEDIA_TYPES
from serving.request.content_negotiation import MAX_RANGES, choose_output, parse_accept


@pytest.mark.parametrize(
    ("accept", "output"),
    [
        (None, "mask"),
        ("", "mask"),
        ("*/*", "mask"),
        ("image/*", "mask"),
        ("image/png", "mask"),
        ("image/jpeg", "overlay"),
        ("IMAGE/JPEG", "overlay"),
        ("application/json", "json"),
        ("application/*", "json"),
        ("application/x-npy", "npy"),
        # weights
        ("image/png;q=0.5, application/json;q=0.9", "json"),
        ("image/png; q=0.5 , application/json ; q=0.501", "json"),
        ("*/*;q=0.1, image/jpeg;q=0.2", "overlay"),
        ("application/json;q=0.3, */*;q=0.8", "mask"),
        # the most specific range decides on a type, whatever the others say
        ("image/png;q=0, image/*", "overlay"),
        ("image/*;q=0, */*", "json"),
        ("*/*, image/png;q=0.1, image/jpeg;q=0.2", "json"),
        ("image/*;q=0.9, image/png;q=0.1, application/json;q=0.5", "overlay"),
        # at equal weight what is named goes before what a wildcard takes
        ("application/json, text/plain, */*", "json"),  # axios
        ("*/*, application/x-npy", "npy"),
        ("image/jpeg, image/png", "mask"),
        # browsers' <img> and navigation
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "mask"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "mask"),
        # bytes of any kind
        ("application/octet-stream", "mask"),
        ("application/octet-stream;q=0.5, application/json", "json"),
        # what is malformed does not count
        ("nonsense", "mask"),
        ("image/png/jpeg, application/json", "json"),
        ("image/png;q=2, application/json;q=0.1", "json"),
        ("image/png;q=x, image/jpeg", "overlay"),
        ("*/png, image/jpeg", "overlay"),
        (",,;,/,;q=1,image/jpeg,", "overlay"),
        ("application/json;charset=utf-8", "json"),
        ('application/json;profile="a,b";q=0.5, image/png;q=0.4', "json"),
        # Java's HttpURLConnection
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "overlay"),
        ("text/html, *; q=.2", "mask"),
    ],
)
def test_chooses(accept: str | None, output: str) -> None:
    assert choose_output(accept, MEDIA_TYPES) == output


@pytest.mark.parametrize(
    "accept", ["text/html", "image/webp", "*/*;q=0", "image/png;q=0", "image/*;q=0.000"]
)
def test_nothing_acceptable_is_406_and_names_what_can_be_had(accept: str) -> None:
    with pytest.raises(RequestError) as caught:
        choose_output(accept, MEDIA_TYPES)
    assert (caught.value.status, caught.value.code) == (406, "not_acceptable")
    assert caught.value.details["media_types"] == sorted(set(MEDIA_TYPES.values()))


def test_a_long_header_is_read_to_its_limit() -> None:
    padding = ", ".join(f"a/{index}" for index in range(MAX_RANGES - 1))
    assert choose_output(f"{padding}, image/jpeg", MEDIA_TYPES) == "overlay"
    assert len(parse_accept("image/x," * 100_000 + padding)) <= MAX_RANGES
    assert len(parse_accept(", ".join(f"a/{index}" for index in range(10_000)))) == MAX_RANGES


@given(st.text(max_size=200) | st.text(alphabet="imagepngj/*;q=01., ", max_size=60))
def test_any_text_gives_an_output_or_406(accept: str) -> None:
    with suppress(RequestError):
        assert choose_output(accept, MEDIA_TYPES) in MEDIA_TYPES


RANGES = st.sampled_from([*MEDIA_TYPES.values(), "image/*", "application/*", "*/*", "text/html"])
WEIGHTS = st.sampled_from([0.0, 0.001, 0.5, 0.999, 1.0])


@given(st.dictionaries(RANGES, WEIGHTS, min_size=1))
def test_the_weightiest_is_chosen_in_whatever_order_they_are_listed(
    ranges: dict[str, float],
) -> None:
    def weight(media_type: str) -> float:
        """By the most specific range, as plainly as RFC 9110 says it."""
        family = media_type.split("/")[0] + "/*"
        return ranges.get(media_type, ranges.get(family, ranges.get("*/*", 0.0)))

    parts = [f"{media_range};q={q}" for media_range, q in ranges.items()]
    headers = (", ".join(parts), ",".join(reversed(parts)))
    best = max(weight(media_type) for media_type in MEDIA_TYPES.values())
    if best == 0:
        for header in headers:
            with pytest.raises(RequestError):
                choose_output(header, MEDIA_TYPES)
    else:
        (chosen,) = {choose_output(header, MEDIA_TYPES) for header in headers}
        assert weight(MEDIA_TYPES[chosen]) == best

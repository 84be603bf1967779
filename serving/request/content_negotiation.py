"""Content negotiation: the output format that suits an Accept header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from serving.errors import RequestError

# Ranges read of one header. Netty caps all headers of a request at 8 KB, browsers send about 8.
MAX_RANGES = 64

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
MEDIA_RANGE = re.compile(rf"({TOKEN})/({TOKEN})")
# Looser than the RFC, which wants the leading digit and three decimals at most: Java sends "q=.2".
WEIGHT = re.compile(r"[01]|[01]?\.[0-9]{1,9}|[01]\.")

# Specificity of a media range: the type itself, its family ("image/*"), anything ("*/*").
BY_NAME, BY_FAMILY, BY_WILDCARD = 2, 1, 0


def choose_output(accept: str | None, available: Mapping[str, str]) -> str:
    """The name in `available` (name -> media type) whose media type the client prefers.

    At equal weight a type that the client names goes before one that a wildcard covers
    ("application/json, */*" gets JSON), then the order of `available` decides.
    Raises RequestError 406 where none is acceptable.
    """
    ranges = parse_accept(accept)
    best = max(available, key=lambda name: preference(ranges, available[name]))
    weight, _ = preference(ranges, available[best])
    if weight == 0:
        raise not_acceptable(available)
    return best


def not_acceptable(available: Mapping[str, str]) -> RequestError:
    media_types = sorted(set(available.values()))
    return RequestError(
        406,
        "not_acceptable",
        f"None of the accepted media types is available. Accept one of {', '.join(media_types)}.",
        media_types=media_types,
    )


def parse_accept(accept: str | None) -> dict[str, float]:
    """An Accept header as media range -> weight in [0, 1].

    Malformed elements are ignored; a missing header, or one without a valid element, accepts
    everything. Parameters other than the weight are ignored: no format has any, and a client that
    sends "application/json;charset=utf-8" wants JSON.
    """
    ranges: dict[str, float] = {}
    for element in (accept or "").split(",", MAX_RANGES)[:MAX_RANGES]:
        media_range, *parameters = (part.strip().lower() for part in element.split(";"))
        # "*" is Java's HttpURLConnection's; "application/octet-stream" says bytes of any kind.
        if media_range in ("*", "application/octet-stream"):
            media_range = "*/*"
        weight = _weight(parameters)
        if weight is None or not _is_media_range(media_range):
            continue
        ranges[media_range] = max(weight, ranges.get(media_range, 0.0))
    return ranges or {"*/*": 1.0}


def preference(ranges: Mapping[str, float], media_type: str) -> tuple[float, int]:
    """(weight, specificity) of the range that fits `media_type` most closely; weight 0 if none."""
    family = media_type.split("/")[0] + "/*"
    for specificity, media_range in (
        (BY_NAME, media_type),
        (BY_FAMILY, family),
        (BY_WILDCARD, "*/*"),
    ):
        if media_range in ranges:
            return ranges[media_range], specificity
    return 0.0, BY_WILDCARD


def _is_media_range(text: str) -> bool:
    match = MEDIA_RANGE.fullmatch(text)
    return match is not None and (match[1] != "*" or match[2] == "*")


def _weight(parameters: list[str]) -> float | None:
    """The value of the `q` parameter, 1 where there is none, None where it is malformed."""
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            value = value.strip()
            weight = float(value) if WEIGHT.fullmatch(value) else None
            return weight if weight is not None and weight <= 1 else None
    return 1.0

"""The headers of a request: what they say about the image, the output and the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

# Unlike a path suffix, this does not depend on a version in the URL.
OUTPUT_HEADER: Final = "X-Segmenter-Output"
CLASSES_HEADER: Final = "X-Segmenter-Classes"
THRESHOLD_HEADER: Final = "X-Segmenter-Threshold"
NAME_HEADER: Final = "X-Segmenter-Name"  # percent-encoded

MODEL_CARD: Final = "model"  # an output without an image


def authorization_headers(token: str | None) -> dict[str, str]:
    """Those of the gateway's token. Raises ValueError for one that no header can carry."""
    if token is None:
        return {}
    if not is_header_value(token):
        raise ValueError("a token consists of printable ASCII characters")
    return {"Authorization": f"Bearer {token}"}


def prediction_headers(
    output_format: str,
    *,
    classes: Sequence[str | int] | None,
    threshold: float | None,
    name: str | None,
) -> dict[str, str]:
    """Those of a prediction. Raises ValueError for classes that no header can carry."""
    headers = {**selection_headers(classes, threshold), OUTPUT_HEADER: output_format}
    if name is not None:
        headers[NAME_HEADER] = quote(name)
    return headers


def selection_headers(
    classes: Sequence[str | int] | None, threshold: float | None
) -> dict[str, str]:
    """The headers that select pixels. Raises ValueError for classes that no header can carry."""
    headers = {}
    if classes is not None:
        names = classes if isinstance(classes, str) else ",".join(map(str, classes))
        if not names.strip(" ,"):  # the service would read it as all of them
            raise ValueError("name at least one class")
        if not is_header_value(names):
            raise ValueError(f"a header cannot carry {names!r}; name these classes by their ids")
        headers[CLASSES_HEADER] = names
    if threshold is not None:
        headers[THRESHOLD_HEADER] = str(threshold)
    return headers


def is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable()

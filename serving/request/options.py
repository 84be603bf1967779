"""Options: `classes` and `threshold` from a form's fields, JSON, a query or headers; all that
headers hold; and how a client's value is shown in the message that refuses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from serving.errors import RequestError
from serving.types import Options
from serving.wire import CLASSES, NAME, OPTION_HEADERS, OUTPUT, OUTPUT_HEADER, THRESHOLD

MAX_NAMES: Final = 65_536  # in a list of classes: as many as a model can have

MAX_DIGITS: Final = 60  # of a threshold, as text

QUOTED_CHARACTERS: Final = 60  # of a bad value, in the message that refuses it


def read_options(sources: Sequence[Mapping[str, object]], labels: Sequence[str]) -> Options:
    """The options that `sources` hold under their names, the first source first.

    A value is text, as bytes or str, or a JSON value. Empty text counts as absent.
    Raises RequestError 400.
    """
    classes, threshold = first_value(sources, CLASSES), first_value(sources, THRESHOLD)
    return Options(
        None if classes is None else _class_ids(classes, labels),
        0.0 if threshold is None else _probability(threshold),
    )


def first_value(sources: Sequence[Mapping[str, object]], name: str) -> object:
    """The first value of that name other than None and empty text; text is stripped."""
    for source in sources:
        value = source.get(name)
        if isinstance(value, (bytes, bytearray)):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str):
            value = value.strip()
        if value is not None and value != "":
            return value
    return None


def header_options(headers: Mapping[str, str]) -> dict[str, object]:
    """The output format and the options in `headers`, whose names are in lower case.

    The name of a file is percent-encoded UTF-8 there, as headers are ASCII.
    """
    names = {OUTPUT: OUTPUT_HEADER, **OPTION_HEADERS}
    values = {name: headers.get(header.lower()) for name, header in names.items()}
    return {**values, NAME: unquote(values[NAME] or "")}


def quoted(value: object) -> str:
    """A client's value for an error message: ASCII, of bounded length.

    Lists and objects are only named: they may be large, and nested beyond Python's recursion limit.
    """
    if value is not None and not isinstance(value, (str, int, float)):
        return "an object" if isinstance(value, Mapping) else "a list" if value else "an empty list"
    text = ascii(value[: QUOTED_CHARACTERS + 1] if isinstance(value, str) else value)
    return text if len(text) <= QUOTED_CHARACTERS else text[:QUOTED_CHARACTERS] + "..."


def _class_ids(value: object, labels: Sequence[str]) -> frozenset[int]:
    """Labels or ids, in a list or as text between commas -> ids."""
    if isinstance(value, str):
        parts = value.split(",", MAX_NAMES)  # what is left beyond them is no class
        value = [name for name in (part.strip() for part in parts) if name]
    names = value if isinstance(value, list) else [value]
    if not names:
        raise _unknown_class(value, labels)
    ids = {label: index for index, label in enumerate(labels)}
    return frozenset(_class_id(name, ids, labels) for name in names)


def _class_id(name: object, ids: Mapping[str, int], labels: Sequence[str]) -> int:
    if isinstance(name, str):
        if name in ids:
            return ids[name]
        if name.isascii() and name.isdigit() and len(name) < 6:
            name = int(name)
    if isinstance(name, int) and not isinstance(name, bool) and 0 <= name < len(labels):
        return name
    raise _unknown_class(name, labels)


def _unknown_class(name: object, labels: Sequence[str]) -> RequestError:
    return RequestError(
        400,
        "unknown_class",
        f"{quoted(name)} is no class of this model. Name classes by label or id: "
        f"{', '.join(f'{index} {label}' for index, label in enumerate(labels))}.",
        classes=list(labels),
    )


def _probability(value: object) -> float:
    try:
        is_long = isinstance(value, str) and len(value) > MAX_DIGITS
        number = float(value) if isinstance(value, (str, int, float)) and not is_long else -1.0
    except (ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool) or not 0 <= number <= 1:
        raise RequestError(
            400,
            "invalid_threshold",
            f"The threshold is {quoted(value)}. Send a probability from 0 to 1, such as 0.5.",
        )
    return number

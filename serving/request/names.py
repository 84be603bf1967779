"""The names that a request may hold. Any other is refused, so that no option is lost unnoticed."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Final, TypeVar

from serving.errors import RequestError
from serving.request.json_body import IMAGE_KEYS
from serving.request.options import quoted
from serving.wire import (
    HUGGING_FACE,
    KSERVE,
    OPEN_INFERENCE,
    OPTION_DESCRIPTIONS,
    OPTION_HEADERS,
    OUTPUT,
    OUTPUT_HEADER,
    PROTOCOL_HEADER,
    QUERY_HEADER,
)

OPTIONS: Final = (OUTPUT, *OPTION_DESCRIPTIONS)

# TorchServe's own query parameters, which it hands over with the others.
ENGINE_PARAMETERS: Final = ("model_name", "model_version")

HEADER_PREFIX: Final = "x-segmenter-"
OPTION_HEADER_NAMES: Final = tuple(
    name.lower()
    for name in (OUTPUT_HEADER, *OPTION_HEADERS.values(), QUERY_HEADER, PROTOCOL_HEADER)
)

# `type` is the mark of a Buffer that Node writes as JSON.
INSTANCE_KEYS: Final = (*IMAGE_KEYS, "type")
TENSOR_KEYS: Final = ("name", "shape", "datatype", "data", "parameters")

# Keys of a document, by its protocol; None is our own. Beside the protocol's own there are those
# that its clients add: TensorFlow Serving's signature, a model's name, Hugging Face's options.
DOCUMENT_KEYS: Final[Mapping[str | None, tuple[str, ...]]] = {
    None: (*INSTANCE_KEYS, "parameters"),
    KSERVE: ("instances", "parameters", "signature_name"),
    OPEN_INFERENCE: ("inputs", "outputs", "id", "parameters", "model_name", "model_version"),
    HUGGING_FACE: ("inputs", "parameters", "options"),
}

# Keys of `parameters` that need no action, by the document's protocol: Triton's of sequences and
# queues, MLServer's of its codecs, and that Hugging Face's segmentation is to be a semantic one.
PARAMETERS: Final[Mapping[str | None, tuple[str, ...]]] = {
    OPEN_INFERENCE: (
        "binary_data_output",
        *("sequence_id", "sequence_start", "sequence_end", "priority", "timeout"),
        *("content_type", "headers"),
    ),
    HUGGING_FACE: ("subtask",),
}

MAX_COMPARED: Final = 40  # characters of a name for which a similar one is looked up

# Unknown names of one request that are compared with those known: one takes up to 0.1 ms, in which
# no other thread runs, and a document may have 10,000.
MAX_LOOKED_UP: Final = 16

Value = TypeVar("Value")


def check_names(names: Iterable[str], known: Collection[str], place: str) -> None:
    """Raise RequestError 400 for a name that is not known, with the one that it resembles.

    `place` says what the name is of: "form field".
    """
    for name in names:
        if name not in known:
            raise unknown_name(name, known, place)


def check_document(document: Mapping[str, object], protocol: str | None) -> None:
    """Check the keys of a JSON document and of its `parameters`. Raises RequestError 400."""
    known = (*DOCUMENT_KEYS[protocol], *OPTIONS)
    # Where nothing resembles an image's key, that the image is missing says more.
    has_known = any(key in known for key in document)
    if protocol or has_known or resembles_any(document, known):
        check_names(document, known, "JSON key")
    parameters = document.get("parameters")
    if isinstance(parameters, Mapping):
        check_names(parameters, (*PARAMETERS.get(protocol, ()), *OPTIONS), "parameter")
        subtask = parameters.get("subtask", "semantic")
        if subtask != "semantic":
            raise RequestError(
                400,
                "unknown_subtask",
                f"The subtask is {quoted(subtask)}. The service segments by class: semantic.",
            )


def check_headers(headers: Iterable[str]) -> None:
    """Check the names, in lower case, of headers that look like ours. Raises RequestError 400."""
    ours = [name for name in headers if name.startswith(HEADER_PREFIX)]
    check_names(ours, OPTION_HEADER_NAMES, "header")


def unique(pairs: Iterable[tuple[str, Value]], place: str) -> dict[str, Value]:
    """Pairs of name and value, as an engine shows them -> a dict.

    Raises RequestError 400 for a name that comes twice: which of the two counts would be a guess.
    """
    found: dict[str, Value] = {}
    for name, value in pairs:
        if name in found:
            raise RequestError(
                400,
                "repeated_name",
                f"There are two of the {place} {quoted(name)}. Send one; "
                "several values go into it between commas.",
            )
        found[name] = value
    return found


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` resembles, as a slip of the keyboard does."""
    close = difflib.get_close_matches(name[:MAX_COMPARED].lower(), list(known), 1, 0.7)
    return close[0] if close else None


def resembles_any(names: Iterable[str], known: Collection[str]) -> bool:
    """Whether one of the first names, of which none is known, resembles one that is."""
    return any(nearest(name, known) for name in islice(names, MAX_LOOKED_UP))


def unknown_name(name: str, known: Collection[str], place: str) -> RequestError:
    meant = nearest(name, known)
    hint = f" Did you mean {meant}?" if meant else ""
    return RequestError(
        400,
        "unknown_name",
        f"There is no {place} {quoted(name)}.{hint} Known are {', '.join(known)}.",
        nearest=meant,
        known=list(known),
    )

"""Which output formats a request names, or accepts, and whether it wants them in a ZIP archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serving import wire
from serving.errors import RequestError
from serving.formats import FORMATS, MEDIA_TYPES
from serving.request.content_negotiation import (
    BY_NAME,
    BY_WILDCARD,
    choose_output,
    not_acceptable,
    parse_accept,
    preference,
)


def output_names(value: object) -> tuple[str, ...]:
    """The names in a path's suffix, part, key, parameter or header, each once; none where empty.

    They are separated by commas, in JSON also items of a list. Raises RequestError 400.
    """
    if isinstance(value, (bytes, bytearray)):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        text = value.strip("/ \t\r\n")
        value = text.split(",") if text else []
    names = [] if value is None else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise unknown_output()
    return tuple(dict.fromkeys(name.strip() for name in names))


def choose_outputs(
    named: Sequence[str], accept: str | None, protocol: str | None
) -> tuple[tuple[str, ...], bool]:
    """The output formats, and whether Accept asks for a ZIP archive of them.

    `named` go before Accept; `protocol` is the format of the request's own protocol. Raises
    RequestError.
    """
    ranges = parse_accept(accept)
    is_zip = prefers_zip(ranges)
    if named:
        outputs = tuple(named)
    elif is_zip:
        outputs = accepted_outputs(ranges)
    else:
        first = {} if protocol is None else {protocol: MEDIA_TYPES[protocol]}
        outputs = (choose_output(accept, {**first, **MEDIA_TYPES}),)
    if not MEDIA_TYPES.keys() >= set(outputs):
        raise unknown_output()
    if is_zip or len(outputs) > 1:
        check_files(outputs)
    return outputs, is_zip


def prefers_zip(ranges: Mapping[str, float]) -> bool:
    """Whether an Accept header names ZIP archives, and no other type with a greater weight."""
    weight = ranges.get(wire.ZIP, 0.0)
    return weight > 0 and weight == max(ranges.values())


def accepted_outputs(ranges: Mapping[str, float]) -> tuple[str, ...]:
    """The first format of each media type that is named beside ZIP.

    Without any, the first file whose type has no weight of 0. Raises RequestError 406 without one.
    """
    first_of = {media_type: name for name, media_type in reversed(MEDIA_TYPES.items())}
    outputs = tuple(
        name
        for name, media_type in MEDIA_TYPES.items()
        if first_of[media_type] == name and _is_named(*preference(ranges, media_type))
    )
    files = {name: MEDIA_TYPES[name] for name, output in FORMATS.items() if output.suffix}
    others = [name for name in files if not _is_refused(*preference(ranges, files[name]))]
    if not (outputs or others):
        raise not_acceptable(files)
    return outputs or (others[0],)


def _is_named(weight: float, specificity: int) -> bool:
    return weight > 0 and specificity == BY_NAME


def _is_refused(weight: float, specificity: int) -> bool:
    """Whether a type, or its family, has weight 0. "*/*;q=0" beside ZIP is of other responses."""
    return weight == 0 and specificity > BY_WILDCARD


def check_files(outputs: Sequence[str]) -> None:
    """Raises RequestError 400 for a format that is no file, and so no entry of an archive."""
    files = [name for name, output in FORMATS.items() if output.suffix is not None]
    for name in outputs:
        if name not in files:
            raise RequestError(
                400,
                "not_a_file_format",
                f"The format {name} is a protocol's response, not a file: request it alone. A ZIP "
                f"archive holds {', '.join(files)}.",
                outputs=files,
            )


def unknown_output() -> RequestError:
    return RequestError(
        400,
        "unknown_output",
        f"Unknown output format. The formats are {', '.join(MEDIA_TYPES)}; "
        f"{', '.join(wire.DOCUMENTS[:-1])} and {wire.DOCUMENTS[-1]} are for requests without an "
        "image.",
        outputs=list(MEDIA_TYPES),
    )

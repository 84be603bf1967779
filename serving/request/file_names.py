"""The names of the images' files: what COCO and the entries of archives call them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from serving.errors import RequestError
from serving.request.options import first_value, quoted
from serving.request.parts import NUMBERED, is_numbered
from serving.types import UNNAMED, HttpRequest
from serving.wire import NAME

MAX_NAME: Final = 255  # characters: what file systems allow


def form_names(
    parts: Sequence[str], request: HttpRequest, sources: Sequence[Mapping[str, object]]
) -> list[str]:
    """The names of a form's images, which are these parts; or the name of a body.

    One image has the option `name`, else its file's own name; the part image7 the field `name7`,
    else its file's own, else the part's. `sources` hold the options. Raises RequestError 400, also
    for the option `name` beside numbered parts.
    """
    own = {part: _base_name(request.filenames.get(part, "")) for part in parts}
    if not is_numbered(parts[0]):
        (part,) = parts
        return [_checked(first_value(sources, NAME)) or own[part] or UNNAMED]
    if first_value(sources, NAME) is not None:
        raise RequestError(
            400,
            "invalid_name",
            f"`{NAME}` is of one image, and the parts are numbered. Send the names of their files "
            f"in the fields {NAME}0, {NAME}1, ...",
            images=len(parts),
        )
    fields = {part: request.parts.get(NAME + part[len(NUMBERED) :]) for part in parts}
    return [_checked(first_value([fields], part)) or own[part] or part for part in parts]


def document_names(sources: Sequence[Mapping[str, object]], count: int) -> list[str]:
    """The names of a document's images: its key `name`, a list for several; or image0, image1, ...

    `sources` hold the options. Raises RequestError 400.
    """
    value = first_value(sources, NAME)
    if count == 1 and not isinstance(value, list):
        return [_checked(value) or UNNAMED]
    names = [None] * count if value is None else value
    if not isinstance(names, list) or len(names) != count:
        raise RequestError(
            400,
            "invalid_name",
            f"The request holds {count} images. Send as many names, in a list: "
            f'"{NAME}": ["a.jpg", "b.jpg"].',
            images=count,
        )
    return [_checked(name) or f"{UNNAMED}{index}" for index, name in enumerate(names)]


def _checked(value: object) -> str:
    """A name; empty where there is none. Raises RequestError 400."""
    if value is None or value == "":
        return ""
    if isinstance(value, str) and len(value) <= MAX_NAME and value.isprintable():
        steps = value.split("/")
        if "\\" not in value and not {"", ".", ".."} & set(steps):
            return value
    raise RequestError(
        400,
        "invalid_name",
        f"The name is {quoted(value)}. Send a file's name, or its path below a folder, such as "
        f"photo.jpg or street/photo.jpg: at most {MAX_NAME} characters.",
    )


def _base_name(path: str) -> str:
    """A part's file name without what is no name of it: RFC 7578 tells to ignore its folders."""
    name = PurePosixPath(path.replace("\\", "/")).name
    return name[-MAX_NAME:] if name.isprintable() and name != ".." else ""

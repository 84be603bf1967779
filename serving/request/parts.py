"""Which parts of a request are images."""

from __future__ import annotations

import re

from serving.errors import RequestError
from serving.request.json_body import check_num_images
from serving.request.names import ENGINE_PARAMETERS, OPTIONS, check_names, resembles_any
from serving.types import HttpRequest
from serving.wire import MAX_PARTS, NAME

# Names by which a part says that it is the image. A part of another name is, if it is the only one.
IMAGE_PARTS = ("image", "file", "data", "body")

# Names of the images of a list, image0, image1, ..., and of the fields with their files' names.
NUMBERED = "image"
NUMBER = "[0-9]{1,3}"

FORM = "application/x-www-form-urlencoded"

HOW_TO_SEND = (
    "Send the image's bytes as the body: curl -T photo.jpg URL, or "
    "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' URL; "
    "or as a part of a form: curl -F image=@photo.jpg URL."
)


def image_parts(request: HttpRequest) -> list[str]:
    """The names of the parts that are images; none where the request has no body.

    Raises RequestError 400 where parts were sent and none is an image, or it is not clear which
    are; 413 where they are too many.
    """
    # It is what curl declares for --data-binary. Then the parts are the image's bytes, taken apart
    # at "&" and "=".
    parts = [] if declared_type(request) == FORM else _candidates(request)
    numbered = sorted(filter(is_numbered, parts), key=lambda name: int(name[len(NUMBERED) :]))
    if len(parts) > max(1, len(numbered)):
        raise RequestError(
            400,
            "one_image_per_request",
            f"{len(parts)} parts of the request may be the image. Send one, in a part named image, "
            "or several, in parts named image0, image1, ...",
            parts=len(parts),
        )
    check_num_images(len(parts))
    if parts or request.headers.get("content-length", "0") == "0":
        return numbered or parts
    raise RequestError(400, "image_missing", f"The request holds no image. {HOW_TO_SEND}")


def is_numbered(part: str) -> bool:
    """Whether a part is one image of a list, which is in the order of the numbers."""
    return re.fullmatch(NUMBERED + NUMBER, part) is not None


def _candidates(request: HttpRequest) -> list[str]:
    """The names of the parts that may be the image.

    Raises RequestError 400 for a part that is neither the image nor an option, and for too many.
    """
    if len(request.parts) > MAX_PARTS:
        raise RequestError(
            400,
            "one_image_per_request",
            f"The request has {len(request.parts)} parts; at most {MAX_PARTS} are read. Send one "
            "image, in a part named image, or several, in parts named image0, image1, ...",
            parts=len(request.parts),
        )
    is_list = any(map(is_numbered, request.parts))
    unnamed = [
        name
        for name in request.parts
        if name not in (*OPTIONS, *ENGINE_PARAMETERS)
        and not (is_list and re.fullmatch(NAME + NUMBER, name))
    ]
    named = [name for name in unnamed if name in IMAGE_PARTS or is_numbered(name)]
    if named or resembles_any(unnamed, OPTIONS):
        known = (*IMAGE_PARTS, *OPTIONS)
        check_names((name for name in unnamed if name not in named), known, "form field")
    return unnamed


def declared_type(request: HttpRequest) -> str:
    """The media type of the whole body, without parameters; empty where none is declared."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()

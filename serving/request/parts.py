"""Which part of a request is the image."""

from __future__ import annotations

from serving.errors import RequestError
from serving.request.names import ENGINE_PARAMETERS, OPTIONS, check_names, nearest
from serving.types import HttpRequest

# Names by which a part says that it is the image. A part of another name is, if it is the only one.
IMAGE_PARTS = ("image", "file", "data", "body")

FORM = "application/x-www-form-urlencoded"

HOW_TO_SEND = (
    "Send the image's bytes as the body: curl -T photo.jpg URL, or "
    "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' URL; "
    "or as a part of a form: curl -F image=@photo.jpg URL."
)


def image_part(request: HttpRequest) -> bytes | bytearray:
    """The part that is the image; empty bytes where the request has no body.

    Raises RequestError 400 where parts were sent and none is the image, or more than one may be.
    """
    # It is what curl declares for --data-binary. Then the parts are the image's bytes, taken apart
    # at "&" and "=".
    parts = [] if declared_type(request) == FORM else _candidates(request)
    if len(parts) > 1:
        raise RequestError(
            400,
            "one_image_per_request",
            f"{len(parts)} parts of the request may be the image. "
            "Send one image, in a part named image.",
            parts=len(parts),
        )
    if parts:
        return request.parts[parts[0]]
    if request.headers.get("content-length", "0") == "0":
        return b""
    raise RequestError(400, "image_missing", f"The request holds no image. {HOW_TO_SEND}")


def _candidates(request: HttpRequest) -> list[str]:
    """The names of the parts that may be the image.

    Raises RequestError 400 for a part that is neither the image nor an option.
    """
    unnamed = [name for name in request.parts if name not in (*OPTIONS, *ENGINE_PARAMETERS)]
    named = [name for name in unnamed if name in IMAGE_PARTS]
    if named or any(nearest(name, OPTIONS) for name in unnamed):
        check_names(unnamed, (*IMAGE_PARTS, *OPTIONS), "form field")
    return unnamed


def declared_type(request: HttpRequest) -> str:
    """The media type of the whole body, without parameters; empty where none is declared."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()

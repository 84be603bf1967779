"""Which part of a request is the image."""

from __future__ import annotations

from serving.errors import RequestError
from serving.types import HttpRequest
from serving.wire import CLASSES, OUTPUT, THRESHOLD

# Names by which a part says that it is the image. A part of another name is, if it is the only one.
IMAGE_PARTS = ("image", "file", "data", "body")

# Parts that are never taken for the image.
OPTION_PARTS = (OUTPUT, CLASSES, THRESHOLD)

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
    parts = [name for name in IMAGE_PARTS if name in request.parts]
    parts = parts or [name for name in request.parts if name not in OPTION_PARTS]
    if declared_type(request) == FORM:
        # What curl declares for --data-binary. The image's bytes were taken apart at "&" and "=".
        parts = []
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


def declared_type(request: HttpRequest) -> str:
    """The media type of the whole body, without parameters; empty where none is declared."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()

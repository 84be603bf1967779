"""Bodies that are an image, but not as they were sent: each is refused with what to do instead."""

from __future__ import annotations

import re
from typing import Final

from serving.errors import RequestError
from serving.request.parts import declared_type
from serving.types import HttpRequest

# How the base64 of an image begins: a data URL, or JPEG, PNG, GIF, WebP, TIFF of either byte order,
# BMP; percent-encoded in a form, whose field may come before it.
BASE64_IMAGE: Final = re.compile(
    rb"\s*(?:[\w-]{1,20}=)?[\"']?(?:data:image/[\w.+-]+;base64,|/9j/|iVBORw0KGgo|R0lGOD|UklGR"
    rb"|SUkqAA|TU0AK|Qk[0-3][A-Za-z0-9+/]{6}|%2[Ff]9j%2[Ff]|data%3[Aa]image)",
)
FORM: Final = re.compile(rb"\s*--[^\r\n]{1,80}\r?\n[Cc]ontent-")
JSON: Final = re.compile(rb"\s*[\[{]\s*[\"{]")

BEGINNING: Final = 256  # bytes that are looked at


def looks_like_json(part: bytes | bytearray) -> bool:
    """Whether this begins like a JSON object or list, as no image does."""
    return JSON.match(part[:BEGINNING]) is not None


def check_not_mistaken(part: bytes | bytearray, request: HttpRequest) -> None:
    """Raise RequestError 415 for base64, JSON or a form where a file should be."""
    start = bytes(part[:BEGINNING])
    if BASE64_IMAGE.match(start):
        raise RequestError(
            415,
            "undeclared_base64",
            "The image is base64 text. Send the file's bytes themselves, in a form as well as in "
            'the body; base64 is read in JSON: {"image": "<base64>"} with '
            "Content-Type: application/json.",
        )
    if FORM.match(start):
        raise RequestError(
            415,
            "undeclared_form",
            "The body is a multipart form, but its Content-Type does not name the boundary between "
            "its parts. Leave that header to the library that makes the form.",
        )
    if looks_like_json(part):
        raise RequestError(
            415,
            "undeclared_json",
            f"The body is JSON, but it was sent as {declared_type(request)}. "
            "Send Content-Type: application/json.",
        )

"""What a request asks for: which image, and which output of it.

TorchServe hands a request over as a mapping, here called its row, from the names of its parts (of
its query parameters, too) to values. A plain body is the part `body`. A value is bytes, unless its
content type is JSON (then the parsed document) or text (then a str).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imaging.errors import UnreadableImage, UnsupportedImage
from serving.document import image_in, parse_json
from serving.errors import RequestError
from serving.negotiation import BY_NAME, choose_output, parse_accept, preference
from serving.outputs import MEDIA_TYPES
from serving.page import PAGE, PAGE_MEDIA_TYPE

# Names by which a part says that it is the image. A part of another name is, if it is the only one.
IMAGE_PARTS = ("image", "file", "data", "body")

# The part, JSON key or query parameter that names the output. It is never taken for the image.
OUTPUT_PART = "output"

# Headers that say that a request has a body (RFC 9112, section 6) and what it is.
BODY_HEADERS = ("content-length", "transfer-encoding", "content-type")

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

HOW_TO_SEND = (
    "Send the image's bytes as the body: curl -T photo.jpg URL, or "
    "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' URL; "
    "or as a part of a form: curl -F image=@photo.jpg URL."
)


@dataclass(frozen=True)
class Request:
    """An image, still encoded, and the name of the output; no image where that is the page."""

    image: bytes | None
    output: str


def headers_of(context: Any, index: int) -> dict[str, str]:
    """The headers of the batch's item `index`, under lower-case names.

    TorchServe keeps the client's spelling, and puts the parts' own headers among them as dicts,
    which are left out. Where two spellings of a name meet, the one in lower case wins: so spells
    TorchServe what it sets itself.

    Netty adds `content-length: 0` to a request that declares no body, as a GET does. It is left
    out again, if the client spells its own headers otherwise.
    """
    received = context.get_all_request_header(index)
    headers = {
        name.lower(): received[name]
        for name in sorted(received)  # capitals sort before lower case
        if isinstance(received[name], str)
    }
    if received.get("content-length") == "0" and "Host" in received:
        del headers["content-length"]
    return headers


def is_describe(row: Mapping[str, object], headers: Mapping[str, str]) -> bool:
    """Whether this is the management API's `GET /models/{name}?customized=true`.

    Any client can send the header; the empty row keeps it from taking an image's answer away.
    """
    return not row and headers.get("describe", "").lower() == "true"


def read_request(row: Mapping[str, object], headers: Mapping[str, str]) -> Request:
    """The image and the output that a request asks for; `headers` as from `headers_of`.

    The output is named by the path's suffix, else by the part, JSON key or query parameter
    `output`, else chosen by the Accept header. Raises RequestError, or UnsupportedImage for text.
    """
    suffix = output_name(headers.get("url_path"))
    part = image_part(row, headers)
    named = output_name(row.get(OUTPUT_PART))
    if isinstance(part, (str, bytes, bytearray)) and not part:
        return _request_without_image(suffix or named, headers)

    is_json = declared_type(headers) == JSON
    if is_json and isinstance(part, (bytes, bytearray)):
        part = parse_json(part)  # TorchServe leaves it so, if spelled Application/JSON or invalid
    if isinstance(part, Mapping):
        named = output_name(part.get(OUTPUT_PART)) or named
    output = _choose(suffix or named, headers.get("accept"))
    if isinstance(part, (bytes, bytearray)):
        return Request(bytes(part), output)
    if isinstance(part, str) and not is_json:
        raise UnsupportedImage(
            "unsupported_format",
            "The image is declared as text. Send its own bytes, and its own type or none: "
            "Content-Type: image/jpeg.",
        )
    return Request(image_in(part), output)


def image_part(row: Mapping[str, object], headers: Mapping[str, str]) -> object:
    """The value of the part that is the image; empty bytes where nothing was sent.

    Raises RequestError 400 where parts were sent and none is the image, or more than one may be.
    """
    parts = [name for name in IMAGE_PARTS if name in row]
    parts = parts or [name for name in row if name != OUTPUT_PART]
    if declared_type(headers) == FORM:
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
        return row[parts[0]]
    if headers.get("content-length", "0") == "0":
        return b""
    raise RequestError(400, "image_missing", f"The request holds no image. {HOW_TO_SEND}")


def declared_type(headers: Mapping[str, str]) -> str:
    """The media type of the whole request, without parameters; empty where none is declared."""
    return headers.get("content-type", "").split(";")[0].strip().lower()


def output_name(value: object) -> str:
    """The output that a suffix, part, key or parameter names; empty where it names none."""
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray)):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        raise _unknown_output()
    return value.strip("/ \t\r\n")


def _choose(named: str, accept: str | None) -> str:
    if not named:
        return choose_output(accept, MEDIA_TYPES)
    if named not in MEDIA_TYPES:
        raise _unknown_output()
    return named


def _unknown_output() -> RequestError:
    return RequestError(
        400,
        "unknown_output",
        f"There is no such output of an image. The outputs are {', '.join(MEDIA_TYPES)}; "
        f"{PAGE} is for a request without an image.",
        outputs=list(MEDIA_TYPES),
    )


def _request_without_image(named: str, headers: Mapping[str, str]) -> Request:
    """The page, for a GET that takes HTML. Raises UnreadableImage for all else.

    TorchServe does not say which method a request has. One that neither declares a body nor has
    one is taken for a GET; so is one that asks for HTML by name, as every browser does.
    """
    if named == PAGE:
        return Request(None, PAGE)
    weight, specificity = preference(parse_accept(headers.get("accept")), PAGE_MEDIA_TYPE)
    declares_body = any(name in headers for name in BODY_HEADERS)
    if not named and weight > 0 and (specificity == BY_NAME or not declares_body):
        return Request(None, PAGE)
    raise UnreadableImage("image_empty", f"The request has an empty body. {HOW_TO_SEND}")

"""What a request asks for: which image, and which output of it.

TorchServe hands a request over as a mapping, here called its row, from the names of its parts (of
its query parameters, too) to their bytes. A plain body is the part `body`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imaging.errors import UnreadableImage
from serving.errors import RequestError
from serving.formats import MEDIA_TYPES
from serving.request.content_negotiation import BY_NAME, choose_output, parse_accept, preference
from serving.request.json_body import image_in, parse_json, protocol_of
from serving.request.open_inference import HEADER_LENGTH, read_binary, read_tensors
from serving.request.options import CLASSES, THRESHOLD, header_options, read_options
from serving.response.viewer import PAGE, PAGE_MEDIA_TYPE
from serving.types import Request, Tensors

# Names by which a part says that it is the image. A part of another name is, if it is the only one.
IMAGE_PARTS = ("image", "file", "data", "body")

# The part, JSON key or query parameter that names the output.
OUTPUT_PART = "output"

# Parts that are never taken for the image.
OPTION_PARTS = (OUTPUT_PART, CLASSES, THRESHOLD)

# Headers that say that a request has a body (RFC 9112, section 6) and what it is.
BODY_HEADERS = ("content-length", "transfer-encoding", "content-type")

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

HOW_TO_SEND = (
    "Send the image's bytes as the body: curl -T photo.jpg URL, or "
    "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' URL; "
    "or as a part of a form: curl -F image=@photo.jpg URL."
)


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


def read_request(
    row: Mapping[str, object], headers: Mapping[str, str], labels: Sequence[str]
) -> Request:
    """The image, the output and the options that a request asks for.

    `headers` are as from `headers_of`, `labels` the model's. The output is named by the path's
    suffix, else by the JSON key, part or query parameter `output`, else chosen by the Accept
    header, where a JSON document in a protocol of its own is answered in that if it may be. Options
    are JSON keys, at the top or in `parameters`, else parts or query parameters, else headers.
    Raises RequestError, or UnreadableImage for an empty body.
    """
    suffix = output_name(headers.get("url_path"))
    named = output_name(row.get(OUTPUT_PART))
    part = image_part(row, headers)
    if not part:
        return _request_without_image(suffix or named, headers)

    content, image = _unpack(part, headers)
    document = content if isinstance(content, Mapping) else {}
    named = suffix or output_name(document.get(OUTPUT_PART)) or named
    output = _choose(named, headers.get("accept"), protocol_of(document))
    parameters = document.get("parameters")
    sources = [document, parameters, row, header_options(headers)]
    return Request(
        image_in(content) if image is None else image,
        output,
        read_options([source for source in sources if isinstance(source, Mapping)], labels),
        read_tensors(document) if output == "open-inference" else Tensors(),
    )


def image_part(row: Mapping[str, object], headers: Mapping[str, str]) -> bytes | bytearray:
    """The part that is the image; empty bytes where nothing was sent.

    Raises RequestError 400 where parts were sent and none is the image, or more than one may be.
    """
    parts = [name for name in IMAGE_PARTS if name in row]
    parts = parts or [name for name in row if name not in OPTION_PARTS]
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
        part = row[parts[0]]
        assert isinstance(part, (bytes, bytearray))  # handler.py sees to it
        return part
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


def _unpack(part: bytes | bytearray, headers: Mapping[str, str]) -> tuple[object, bytes | None]:
    """The JSON document that a part holds, if any, and the image, if it is not in the document."""
    if HEADER_LENGTH.lower() in headers:
        return read_binary(bytes(part), headers[HEADER_LENGTH.lower()])
    if declared_type(headers) == JSON:
        return parse_json(part), None
    return None, bytes(part)


def _choose(named: str, accept: str | None, protocol: str | None) -> str:
    if not named:
        first = {} if protocol is None else {protocol: MEDIA_TYPES[protocol]}
        return choose_output(accept, {**first, **MEDIA_TYPES})
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

"""What a request holds: an image, an output format and options; or the viewer, or the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imaging.errors import UnreadableImage
from serving import wire
from serving.errors import RequestError
from serving.formats import MEDIA_TYPES
from serving.request.content_negotiation import (
    BY_NAME,
    choose_output,
    parse_accept,
    preference,
)
from serving.request.huggingface import huggingface_image, is_huggingface
from serving.request.json_body import base64_field, decode_base64, parse_json
from serving.request.kserve import is_kserve, kserve_image
from serving.request.open_inference import (
    is_open_inference,
    open_inference_image,
    read_binary,
    read_tensor_options,
)
from serving.request.options import header_options, read_options
from serving.request.parts import HOW_TO_SEND, declared_type, image_part
from serving.types import (
    HttpRequest,
    ModelCardRequest,
    SegmentationRequest,
    TensorOptions,
    ViewerRequest,
)

# Headers that say that a request has a body (RFC 9112, section 6) and what it is.
BODY_HEADERS = ("content-length", "transfer-encoding", "content-type")


def parse_request(
    request: HttpRequest, labels: Sequence[str]
) -> SegmentationRequest | ViewerRequest | ModelCardRequest:
    """The image, the output format and the options that a request names.

    `labels` are the model's. The format is named by the path's suffix, else by the JSON key, part
    or query parameter `output`, else by a header, else chosen by Accept, where a JSON document in a
    protocol of its own gets that protocol's response if Accept allows it. Options are JSON keys, at
    the top or in `parameters`, else parts or query parameters, else headers.
    Raises RequestError, or UnreadableImage for an empty body.
    """
    suffix = format_name(request.path_suffix)
    field = format_name(request.parts.get(wire.OUTPUT))
    header = format_name(request.headers.get(wire.OUTPUT_HEADER.lower()))
    part = image_part(request)
    if not part:
        return _without_image(suffix or field or header, request.headers)

    content, image = _body(part, request)
    document = content if isinstance(content, Mapping) else {}
    named = suffix or format_name(document.get(wire.OUTPUT)) or field or header
    output = _choose_output(named, request.headers.get("accept"), protocol_of(document))
    parameters = document.get("parameters")
    sources = [document, parameters, request.parts, header_options(request.headers)]
    return SegmentationRequest(
        image_in(content) if image is None else image,
        output,
        read_options([source for source in sources if isinstance(source, Mapping)], labels),
        read_tensor_options(document) if output == "open-inference" else TensorOptions(),
    )


def image_in(document: object) -> bytes:
    """The image's bytes in a JSON document of one of wire.JSON_SHAPES.

    Raises RequestError 400: no image, more than one, or not base64.
    """
    if isinstance(document, Mapping):
        if is_kserve(document):
            return kserve_image(document)
        if is_open_inference(document):
            return open_inference_image(document)
        if is_huggingface(document):
            return huggingface_image(document)
    return decode_base64(base64_field(document))


def protocol_of(document: Mapping[str, object]) -> str | None:
    """The output format that is a document's own protocol; None where it is in none."""
    if is_kserve(document):
        return "kserve"
    if is_open_inference(document):
        return "open-inference"
    return "huggingface" if is_huggingface(document) else None


def format_name(value: object) -> str:
    """The format that a suffix, part, key, parameter or header names; empty where it names none."""
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray)):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        raise _unknown_output()
    return value.strip("/ \t\r\n")


def _body(part: bytes | bytearray, request: HttpRequest) -> tuple[object, bytes | None]:
    """The JSON document that a part holds, if any, and the image, if it is not in the document."""
    header_length = request.headers.get(wire.INFERENCE_HEADER_LENGTH.lower())
    if header_length is not None:
        return read_binary(bytes(part), header_length)
    if declared_type(request) == wire.JSON:
        return parse_json(part), None
    return None, bytes(part)


def _choose_output(named: str, accept: str | None, protocol: str | None) -> str:
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
        f"Unknown output format. The formats are {', '.join(MEDIA_TYPES)}; "
        f"{wire.PAGE} and {wire.CARD} are for requests without an image.",
        outputs=list(MEDIA_TYPES),
    )


def _without_image(named: str, headers: Mapping[str, str]) -> ViewerRequest | ModelCardRequest:
    """The model card by its name; the viewer by its name, or for a GET that accepts HTML.

    Raises UnreadableImage for everything else.

    An engine need not say which method a request has. One that neither declares a body nor has one
    is taken for a GET; so is one that names HTML in Accept, as every browser does.
    """
    if named == wire.PAGE:
        return ViewerRequest()
    if named == wire.CARD:
        return ModelCardRequest()
    weight, specificity = preference(parse_accept(headers.get("accept")), wire.PAGE_MEDIA_TYPE)
    declares_body = any(name in headers for name in BODY_HEADERS)
    if not named and weight > 0 and (specificity == BY_NAME or not declares_body):
        return ViewerRequest()
    raise UnreadableImage("image_empty", f"The request has an empty body. {HOW_TO_SEND}")

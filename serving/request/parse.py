"""What a request holds: an image, an output format and options; or the name of a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from imaging.errors import UnreadableImage
from serving import wire
from serving.errors import RequestError
from serving.formats import MEDIA_TYPES
from serving.request.body import Body, read_body
from serving.request.content_negotiation import (
    BY_NAME,
    choose_output,
    parse_accept,
    preference,
)
from serving.request.huggingface import huggingface_image
from serving.request.json_body import image_bytes, image_field
from serving.request.kserve import kserve_image
from serving.request.names import check_document, check_headers
from serving.request.open_inference import open_inference_image, read_tensor_options
from serving.request.options import header_options, read_options
from serving.request.parts import HOW_TO_SEND
from serving.request.query import query_parameters
from serving.types import DocumentRequest, HttpRequest, SegmentationRequest, TensorOptions

# Headers that say that a request has a body (RFC 9112, section 6) and what it is.
BODY_HEADERS = ("content-length", "transfer-encoding", "content-type")


def parse_request(
    request: HttpRequest, labels: Sequence[str]
) -> SegmentationRequest | DocumentRequest:
    """`parse_body` of the request's own body."""
    return parse_body(read_body(request), request, labels)


def parse_body(
    body: Body, request: HttpRequest, labels: Sequence[str]
) -> SegmentationRequest | DocumentRequest:
    """The image, the output format and the options that a request names.

    `labels` are the model's. The format is named by the path's suffix, else by the JSON key, part
    or query parameter `output`, else by a header, else chosen by Accept, where a JSON document in a
    protocol of its own gets that protocol's response if Accept allows it. Options are JSON keys, at
    the top or in `parameters`, else parts, else query parameters, else headers.
    Raises RequestError, or UnreadableImage for an empty body.
    """
    check_headers(request.headers)
    check_document(body.fields, body.protocol)
    parameters = body.fields.get("parameters")
    sources = [
        body.fields,
        parameters if isinstance(parameters, Mapping) else {},
        request.parts,
        query_parameters(request.query),
        header_options(request.headers),
    ]
    names = [format_name(source.get(wire.OUTPUT)) for source in sources]
    named = next(filter(None, [format_name(request.path_suffix), *names]), "")
    if body.is_empty:
        return DocumentRequest(_document_name(named, request.headers))
    output = _choose_output(named, request.headers.get("accept"), body.protocol)
    return SegmentationRequest(
        image_in(body),
        output,
        read_options(sources, labels),
        read_tensor_options(body.fields) if output == wire.OPEN_INFERENCE else TensorOptions(),
    )


def image_in(body: Body) -> bytes | npt.NDArray[np.uint8]:
    """The image: a file's bytes, or pixels (H, W, 3).

    JSON holds it in one of wire.JSON_SHAPES. Raises RequestError 400: no image, more than one, or
    not base64.
    """
    if not body.is_json:
        return body.data
    if body.protocol == wire.KSERVE:
        return kserve_image(body.fields)
    if body.protocol == wire.OPEN_INFERENCE:
        return open_inference_image(body.fields, body.data)
    if body.protocol == wire.HUGGING_FACE:
        return huggingface_image(body.fields)
    return image_bytes(image_field(body.document))


def format_name(value: object) -> str:
    """The format that a suffix, part, key, parameter or header names; empty where it names none."""
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray)):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        raise _unknown_output()
    return value.strip("/ \t\r\n")


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
        f"{' and '.join([', '.join(wire.DOCUMENTS[:-1]), wire.DOCUMENTS[-1]])} are for requests "
        "without an image.",
        outputs=list(MEDIA_TYPES),
    )


def _document_name(named: str, headers: Mapping[str, str]) -> str:
    """The document that a request without an image is for: by its name, or by HTML in Accept.

    Raises UnreadableImage where it is for none.

    An engine need not say which method a request has. One that neither declares a body nor has one
    is taken for a GET; so is one that names HTML in Accept, as every browser does.
    """
    if named in wire.DOCUMENTS:
        return named
    weight, specificity = preference(parse_accept(headers.get("accept")), wire.PAGE_MEDIA_TYPE)
    declares_body = any(name in headers for name in BODY_HEADERS)
    if not named and weight > 0 and (specificity == BY_NAME or not declares_body):
        return wire.PAGE
    raise UnreadableImage("image_empty", f"The request has an empty body. {HOW_TO_SEND}")

"""What a request holds: images, output formats and options; or the name of a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imaging.errors import UnreadableImage
from serving import wire
from serving.request.body import Body, read_body
from serving.request.content_negotiation import BY_NAME, parse_accept, preference
from serving.request.file_names import document_names, form_names
from serving.request.images import images_in
from serving.request.names import check_document, check_headers
from serving.request.open_inference import read_tensor_options
from serving.request.options import header_options, read_options
from serving.request.outputs import choose_outputs, output_names
from serving.request.parts import HOW_TO_SEND
from serving.request.query import query_parameters
from serving.types import (
    DocumentRequest,
    HttpRequest,
    ImageFile,
    SegmentationRequest,
    TensorOptions,
)

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
    """The images, the output formats and the options that a request names.

    `labels` are the model's. Formats are named by the path's suffix, else by the JSON key, part or
    query parameter `output`, else by a header, else chosen by Accept, where a JSON document in a
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
    names = [output_names(source.get(wire.OUTPUT)) for source in sources]
    named = next(filter(None, [output_names(request.path_suffix), *names]), ())
    if body.is_empty:
        return DocumentRequest(_document_name(named, request.headers))
    outputs, is_zip = choose_outputs(named, request.headers.get("accept"), body.protocol)
    files = _files(body, request, sources)
    return SegmentationRequest(
        files,
        outputs,
        read_options(sources, labels),
        read_tensor_options(body.fields) if wire.OPEN_INFERENCE in outputs else TensorOptions(),
        is_list=body.is_list or len(files) > 1,
        is_zip=is_zip,
    )


def _files(
    body: Body, request: HttpRequest, sources: Sequence[Mapping[str, object]]
) -> tuple[ImageFile, ...]:
    if body.images:
        names = form_names(list(body.images), request, sources)
        return tuple(map(ImageFile, body.images.values(), names))
    images = images_in(body)
    return tuple(map(ImageFile, images, document_names(sources, len(images))))


def _document_name(named: Sequence[str], headers: Mapping[str, str]) -> str:
    """The document that a request without an image is for: by its name, or by HTML in Accept.

    Raises UnreadableImage where it is for none.

    An engine need not say which method a request has. One that neither declares a body nor has one
    is taken for a GET; so is one that names HTML in Accept, as every browser does.
    """
    if len(named) == 1 and named[0] in wire.DOCUMENTS:
        return named[0]
    weight, specificity = preference(parse_accept(headers.get("accept")), wire.PAGE_MEDIA_TYPE)
    declares_body = any(name in headers for name in BODY_HEADERS)
    if not named and weight > 0 and (specificity == BY_NAME or not declares_body):
        return wire.PAGE
    raise UnreadableImage("image_empty", f"The request has an empty body. {HOW_TO_SEND}")

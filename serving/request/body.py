"""What a request's body is: an image, or a JSON document in one of the protocols that are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serving import wire
from serving.request.content_encoding import decoded
from serving.request.huggingface import is_huggingface
from serving.request.json_body import parse_json
from serving.request.kserve import is_kserve
from serving.request.mistakes import check_not_mistaken
from serving.request.open_inference import is_open_inference, split_binary
from serving.request.parts import declared_type, image_part
from serving.types import HttpRequest


@dataclass(frozen=True)
class Body:
    """A request's body; without content where the request has none."""

    data: bytes = b""  # an image's file, or a tensor's bytes behind the document
    document: object = None  # of a body in JSON
    is_json: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.is_json or self.data)

    @property
    def fields(self) -> Mapping[str, object]:
        """The document's keys; none where it is not an object, or there is none."""
        return self.document if isinstance(self.document, Mapping) else {}

    @property
    def protocol(self) -> str | None:
        return protocol_of(self.fields)


def read_body(request: HttpRequest) -> Body:
    """The body, inflated if it is compressed.

    Raises RequestError: no part is the image, or two may be; its compression or its JSON is not
    valid; or it is not what its headers say.
    """
    part = image_part(request)
    if not part:
        return Body()
    if declared_type(request) != "multipart/form-data":  # whose parts an engine has taken apart
        part = decoded(part, request.headers.get("content-encoding", ""))
    header_length = request.headers.get(wire.INFERENCE_HEADER_LENGTH.lower())
    if header_length is not None:
        document, raw = split_binary(bytes(part), header_length)
        return Body(raw, document, is_json=True)
    if declared_type(request) == wire.JSON:
        return Body(document=parse_json(part), is_json=True)
    check_not_mistaken(part, request)
    return Body(bytes(part))


def protocol_of(document: Mapping[str, object]) -> str | None:
    """The protocol of a document, by its output format's name; None where it is our own."""
    if is_kserve(document):
        return wire.KSERVE
    if is_open_inference(document):
        return wire.OPEN_INFERENCE
    return wire.HUGGING_FACE if is_huggingface(document) else None


def declared_protocol(headers: Mapping[str, str]) -> str | None:
    """The protocol that a request's headers tell of, before its body is read."""
    if wire.INFERENCE_HEADER_LENGTH.lower() in headers:
        return wire.OPEN_INFERENCE
    named = headers.get(wire.PROTOCOL_HEADER.lower())
    return named if named in (wire.KSERVE, wire.OPEN_INFERENCE) else None

"""What a request's body is: images, or a JSON document in one of the protocols that are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from serving import wire
from serving.request.content_encoding import decoded
from serving.request.huggingface import is_huggingface
from serving.request.json_body import parse_json
from serving.request.kserve import is_kserve
from serving.request.mistakes import check_not_mistaken, looks_like_json
from serving.request.open_inference import is_open_inference, split_binary
from serving.request.parts import declared_type, image_parts, is_numbered
from serving.types import HttpRequest


@dataclass(frozen=True)
class Body:
    """A request's body; without content where the request has none."""

    images: Mapping[str, bytes] = field(default_factory=dict)  # by part, those not in a document
    raw: bytes = b""  # a tensor's bytes behind the document
    document: object = None  # of a body in JSON
    is_json: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.is_json or self.images)

    @property
    def is_list(self) -> bool:
        return any(map(is_numbered, self.images))

    @property
    def fields(self) -> Mapping[str, object]:
        """The document's keys; none where it is not an object, or there is none."""
        return self.document if isinstance(self.document, Mapping) else {}

    @property
    def protocol(self) -> str | None:
        return protocol_of(self.fields)


def read_body(request: HttpRequest) -> Body:
    """The body, inflated if it is compressed.

    Raises RequestError: no part is the image, or too many may be; its compression or its JSON is
    not valid; or it is not what its headers say.
    """
    images = {part: request.parts[part] for part in image_parts(request)}
    if not any(images.values()):
        return Body()
    if declared_type(request) != "multipart/form-data":  # whose parts an engine has taken apart
        encoding = request.headers.get("content-encoding", "")
        images = {part: decoded(image, encoding) for part, image in images.items()}
    first = next(iter(images.values()))
    header_length = request.headers.get(wire.INFERENCE_HEADER_LENGTH.lower())
    if header_length is not None:
        document, raw = split_binary(bytes(first), header_length)
        return Body(raw=raw, document=document, is_json=True)
    declared = declared_type(request)
    # Triton's client declares nothing where no tensor is raw.
    if declared == wire.JSON or (not declared and looks_like_json(first)):
        return Body(document=parse_json(first), is_json=True)
    for image in images.values():
        check_not_mistaken(image, request)
    return Body({part: bytes(image) for part, image in images.items()})


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

"""One response out of those to all images of a request, in all its output formats.

Of one image in one format it is that response itself. Several formats make a ZIP archive. Of
several images, KServe and Open Inference have forms of their own; otherwise they make a JSON list
if their format is JSON, else an archive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from serving.errors import of_image, protocol_text
from serving.formats import FORMATS
from serving.response.archive import Entry, zip_archive
from serving.response.encode import encode
from serving.response.encoder_input import EncoderInput
from serving.response.kserve import joined_predictions
from serving.response.open_inference import infer_response_of_several
from serving.types import ErrorResponse, Response, SegmentationRequest
from serving.wire import JSON, ZIP

ERROR_SUFFIX: Final = ".error.json"


@dataclass(frozen=True)
class ImageResponse:
    """An image's segmentation and the responses made of it, one in each format; or its error."""

    name: str  # of the image's file
    content: EncoderInput | None = None
    encoded: Sequence[Response] = ()
    error: ErrorResponse | None = None


def encode_outputs(request: SegmentationRequest, content: EncoderInput) -> list[Response]:
    """The responses to one image, in the order of `request.outputs`. Raises RequestError 413."""
    if is_stack(request):
        return []  # combine encodes the tensors of all images as one
    return [encode(output, content) for output in request.outputs]


def combine(request: SegmentationRequest, images: Sequence[ImageResponse]) -> Response:
    """The response to the request. In a list or archive a failed image is its error."""
    if not request.is_list:
        (image,) = images
        if image.error is not None:
            return image.error
        if not is_archive(request):
            (response,) = image.encoded
            return response
    if is_stack(request):
        return _stack(images)
    if request.outputs == ("kserve",):
        return Response(200, JSON, joined_predictions([_prediction(image) for image in images]))
    if is_archive(request):
        return Response(200, ZIP, zip_archive(_entries(request, images)))
    bodies = [image.error.body if image.error else image.encoded[0].body for image in images]
    return Response(200, JSON, b"[" + b",".join(bodies) + b"]")


def is_stack(request: SegmentationRequest) -> bool:
    """Whether the images share tensors of the Open Inference protocol."""
    return request.is_list and request.outputs == ("open-inference",)


def is_archive(request: SegmentationRequest) -> bool:
    if request.is_zip or len(request.outputs) > 1:
        return True
    (output,) = request.outputs
    return request.is_list and not FORMATS[output].media_type.endswith("json")


def _stack(images: Sequence[ImageResponse]) -> Response:
    """Tensors hold no errors, so the first image that failed fails the request."""
    for number, image in enumerate(images, start=1):
        if image.error is not None:
            return of_image(image.error, number, len(images))
    return infer_response_of_several([image.content for image in images if image.content])


def _prediction(image: ImageResponse) -> bytes | str:
    return image.encoded[0].body if image.error is None else protocol_text(image.error)


def _entries(request: SegmentationRequest, images: Sequence[ImageResponse]) -> list[Entry]:
    suffixes = [FORMATS[output].suffix or "" for output in request.outputs]
    names = unique_names([image.name for image in images], [ERROR_SUFFIX, *suffixes])
    entries = []
    for name, image in zip(names, images):
        if image.error is not None:
            entries.append(Entry(name + ERROR_SUFFIX, JSON, image.error.body))
        for suffix, response in zip(suffixes, image.encoded):
            entries.append(Entry(name + suffix, response.content_type, response.body))
    return entries


def unique_names(names: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """The names, with a number where one's files are there before: photo.jpg, photo.jpg.2, ...

    In folders where capitals make no difference, too.
    """
    taken: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 1
        while not taken.isdisjoint(files := {(candidate + end).casefold() for end in suffixes}):
            number += 1
            candidate = f"{name}.{number}"
        taken |= files
        unique.append(candidate)
    return unique

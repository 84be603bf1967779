"""The images in a JSON document, in any of the shapes that are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from serving import wire
from serving.errors import RequestError
from serving.request.body import Body
from serving.request.huggingface import huggingface_image
from serving.request.json_body import image_bytes, image_field
from serving.request.kserve import instance_image, instances
from serving.request.open_inference import open_inference_images
from serving.types import ImageData

T = TypeVar("T")


def images_in(body: Body) -> Sequence[ImageData | RequestError]:
    """At least one image: a file's bytes, or pixels (H, W, 3), in one of wire.JSON_SHAPES.

    One of several that cannot be read is its error. Raises RequestError 400 where there is none,
    413 for too many.
    """
    if body.protocol == wire.KSERVE:
        first, *others = instances(body.fields)
        if not others:
            return [instance_image(first)]
        return [_or_error(instance_image, instance) for instance in (first, *others)]
    if body.protocol == wire.OPEN_INFERENCE:
        return open_inference_images(body.fields, body.raw)
    if body.protocol == wire.HUGGING_FACE:
        return [huggingface_image(body.fields)]
    return [image_bytes(image_field(body.document))]


def _or_error(read: Callable[[T], bytes], item: T) -> bytes | RequestError:
    try:
        return read(item)
    except RequestError as error:
        return error

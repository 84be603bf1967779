"""The classes of a photo with their figures, in our own JSON."""

from __future__ import annotations

from serving.response.encoder_input import EncoderInput
from serving.types import Response


def summary(content: EncoderInput) -> bytes:
    height, width = content.size
    model = content.model
    return Response.json(
        {
            "size": {"width": width, "height": height},
            "model": {"name": model.name, "version": model.version, "digest": model.digest},
            "void": content.label_map.void,
            "classes": content.classes,
        }
    ).body

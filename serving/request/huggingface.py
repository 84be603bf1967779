"""The request of Hugging Face's image tasks: {"inputs": "<base64>"}.

https://huggingface.co/docs/inference-providers/tasks/image-segmentation
"""

from __future__ import annotations

from collections.abc import Mapping

from serving.request.json_body import decode_base64


def is_huggingface(document: Mapping[str, object]) -> bool:
    return "inputs" in document and not isinstance(document["inputs"], list)


def huggingface_image(document: Mapping[str, object]) -> bytes:
    """The image's bytes. Raises RequestError 400 for anything but base64."""
    return decode_base64(document["inputs"])

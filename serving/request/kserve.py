"""KServe's v1 protocol: {"instances": [{"b64": "<base64>"}]}.

https://github.com/kserve/kserve/blob/master/docs/predict-api/v1/README.md
"""

from __future__ import annotations

from collections.abc import Mapping

from serving.request.json_body import image_bytes, image_field, image_items
from serving.request.names import INSTANCE_KEYS, check_names


def is_kserve(document: Mapping[str, object]) -> bool:
    return "instances" in document


def instances(document: Mapping[str, object]) -> list[object]:
    """One for each image. Raises RequestError: none, or too many."""
    return image_items(document["instances"])


def instance_image(instance: object) -> bytes:
    """An instance's bytes. Raises RequestError 400: not base64, or an unknown key."""
    if isinstance(instance, Mapping):
        check_names(instance, INSTANCE_KEYS, "key in an instance")
    return image_bytes(image_field(instance))

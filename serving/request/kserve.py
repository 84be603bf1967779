"""KServe's v1 protocol: {"instances": [{"b64": "<base64>"}]}.

https://github.com/kserve/kserve/blob/master/docs/predict-api/v1/README.md
"""

from __future__ import annotations

from collections.abc import Mapping

from serving.request.json_body import image_bytes, image_field, only_item
from serving.request.names import INSTANCE_KEYS, check_names


def is_kserve(document: Mapping[str, object]) -> bool:
    return "instances" in document


def kserve_image(document: Mapping[str, object]) -> bytes:
    """The image's bytes. Raises RequestError 400: none, several, not base64, or an unknown key."""
    instance = only_item(document["instances"])
    if isinstance(instance, Mapping):
        check_names(instance, INSTANCE_KEYS, "key in an instance")
    return image_bytes(image_field(instance))

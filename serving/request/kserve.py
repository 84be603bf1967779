"""KServe's v1 protocol: {"instances": [{"b64": "<base64>"}]}.

https://github.com/kserve/kserve/blob/master/docs/predict-api/v1/README.md
"""

from __future__ import annotations

from collections.abc import Mapping

from serving.request.json_body import base64_field, decode_base64, only_item


def is_kserve(document: Mapping[str, object]) -> bool:
    return "instances" in document


def kserve_image(document: Mapping[str, object]) -> bytes:
    """The image's bytes. Raises RequestError 400: none, several, or not base64."""
    return decode_base64(base64_field(only_item(document["instances"])))

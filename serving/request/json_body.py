"""The image in a JSON body: by itself, as KServe's two protocols have it, or Hugging Face's.

v1: https://github.com/kserve/kserve/blob/master/docs/predict-api/v1/README.md
v2: https://github.com/kserve/open-inference-protocol
Hugging Face: https://huggingface.co/docs/inference-providers/tasks/image-segmentation
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from serving.errors import RequestError

SHAPES = (
    '{"image": "<base64>"}',
    '{"instances": [{"b64": "<base64>"}]}',
    '{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["<base64>"]}]}',
    '{"inputs": "<base64>"}',
)

# Keys under which an object holds its base64: `b64` is TensorFlow Serving's, which KServe v1
# adopted, `data` that of TorchServe's own KServe examples.
IMAGE_KEYS = ("image", "b64", "data")

WHITE_SPACE = b" \t\r\n"

# Every value beyond the first comes with one of them, and base64 has none. Python makes 64 bytes of
# an empty object: 48 MB of "[{},{},{}]" would be 1 GB.
JSON_SEPARATORS = (b",", b"[", b"{")
MAX_JSON_SEPARATORS = 10_000


def parse_json(data: bytes | bytearray) -> object:
    """The document in `data`. Raises RequestError 400 where there is none, or one of no end."""
    if sum(map(data.count, JSON_SEPARATORS)) > MAX_JSON_SEPARATORS:
        raise RequestError(
            400,
            "json_too_complex",
            "The JSON has more than "
            f"{MAX_JSON_SEPARATORS} values. Send one image, and nothing else that is large.",
            max_values=MAX_JSON_SEPARATORS,
        )
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise RequestError(
            400,
            "invalid_json",
            "The body is declared as application/json but is not valid JSON. "
            "To send an image as it is, declare it, e.g. Content-Type: image/jpeg.",
        ) from None


def image_in(document: object) -> bytes:
    """The image's bytes, of which `document` holds one in one of the SHAPES.

    Raises RequestError 400: no image, more than one, or not base64.
    """
    if isinstance(document, Mapping):
        if "instances" in document:
            return _decode(_encoded(_only(document["instances"])))
        if isinstance(document.get("inputs"), list):
            return _decode(_only(bytes_tensor(document).get("data")))
        if "inputs" in document:
            return _decode(document["inputs"])
    return _decode(_encoded(document))


def protocol_of(document: object) -> str | None:
    """The output that answers a document in its own protocol; None where it is in none."""
    if not isinstance(document, Mapping):
        return None
    if "instances" in document:
        return "kserve"
    if "inputs" in document:
        return "open-inference" if isinstance(document["inputs"], list) else "huggingface"
    return None


def _only(items: object) -> object:
    if not isinstance(items, list) or not items:
        raise _missing()
    if len(items) > 1:
        raise RequestError(
            400,
            "one_image_per_request",
            f"The request holds {len(items)} images. Send one in each request; "
            "requests that arrive together are computed together.",
            images=len(items),
        )
    return items[0]


def bytes_tensor(document: Mapping[str, object]) -> Mapping[str, object]:
    """The one tensor of an Open Inference v2 request, which must be of type BYTES."""
    tensor = _only(document.get("inputs"))
    if not isinstance(tensor, Mapping) or tensor.get("datatype") != "BYTES":
        raise _missing()
    return tensor


def _encoded(value: object) -> object:
    """What should be base64: `value`, or what an object holds under one of IMAGE_KEYS."""
    for _ in range(2):  # {"image": {"b64": ...}} is the deepest that is read
        if isinstance(value, Mapping):
            value = next((value[key] for key in IMAGE_KEYS if key in value), None)
    return value


def _decode(encoded: object) -> bytes:
    """Base64 -> bytes. White space is skipped, and so is the head of a data URL."""
    if not isinstance(encoded, str):
        raise _missing()
    if encoded[:5].lower() == "data:":
        head, _, encoded = encoded.partition(",")
        if not head.lower().endswith(";base64"):
            raise _not_base64()
    try:
        # Not "".join(encoded.split()): of "aa aa aa..." that would make twenty times its memory.
        return base64.b64decode(encoded.encode("ascii").translate(None, WHITE_SPACE), validate=True)
    except ValueError:  # binascii.Error is one, UnicodeEncodeError another
        raise _not_base64() from None


def _missing() -> RequestError:
    return RequestError(
        400,
        "image_missing",
        f"The JSON holds no image. It is read in these shapes: {'; '.join(SHAPES)}.",
        shapes=list(SHAPES),
    )


def _not_base64() -> RequestError:
    return RequestError(
        400,
        "invalid_base64",
        "The image in the JSON is not valid base64 (RFC 4648, section 4, padded). "
        "A data URL of base64 is read as well; an address is not fetched.",
    )

"""JSON from an untrusted client, and the base64 in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from serving.errors import RequestError
from serving.wire import JSON_SHAPES

# Keys under which an object holds its base64: `b64` is TensorFlow Serving's, which KServe v1
# adopted, `data` that of TorchServe's own KServe examples.
IMAGE_KEYS = ("image", "b64", "data")

WHITE_SPACE = b" \t\r\n"

# Every value beyond the first comes with one of these, and base64 has none of them. An empty object
# takes 64 bytes in Python: 48 MB of "[{},{},{}]" would become 1 GB.
JSON_SEPARATORS = (b",", b"[", b"{")
MAX_JSON_SEPARATORS = 10_000


def parse_json(data: bytes | bytearray) -> object:
    """The document in `data`. Raises RequestError 400 for invalid JSON and for too many values."""
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


def only_item(items: object) -> object:
    """The single element of a list. Raises RequestError 400 for none and for several."""
    if not isinstance(items, list) or not items:
        raise image_missing()
    if len(items) > 1:
        raise RequestError(
            400,
            "one_image_per_request",
            f"The request holds {len(items)} images. Send one in each request; "
            "requests that arrive together are computed together.",
            images=len(items),
        )
    return items[0]


def base64_field(value: object) -> object:
    """What should be base64: `value`, or what an object holds under one of IMAGE_KEYS."""
    for _ in range(2):  # {"image": {"b64": ...}} is the deepest nesting that is read
        if isinstance(value, Mapping):
            value = next((value[key] for key in IMAGE_KEYS if key in value), None)
    return value


def decode_base64(encoded: object) -> bytes:
    """Base64 -> bytes; white space and the head of a data URL are skipped. Raises RequestError."""
    if not isinstance(encoded, str):
        raise image_missing()
    if encoded[:5].lower() == "data:":
        head, _, encoded = encoded.partition(",")
        if not head.lower().endswith(";base64"):
            raise _invalid_base64()
    try:
        # "".join(encoded.split()) would need twenty times the memory of "aa aa aa...".
        return base64.b64decode(encoded.encode("ascii").translate(None, WHITE_SPACE), validate=True)
    except ValueError:  # includes binascii.Error and UnicodeEncodeError
        raise _invalid_base64() from None


def image_missing() -> RequestError:
    return RequestError(
        400,
        "image_missing",
        f"The JSON holds no image. It is read in these shapes: {'; '.join(JSON_SHAPES)}.",
        shapes=list(JSON_SHAPES),
    )


def _invalid_base64() -> RequestError:
    return RequestError(
        400,
        "invalid_base64",
        "The image in the JSON is not valid base64 (RFC 4648, section 4, padded). "
        "A data URL of base64 is read as well; other URLs are not fetched.",
    )

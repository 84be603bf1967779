"""JSON from an untrusted client, and the image in it: base64, or a list of bytes."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping

from serving.errors import RequestError
from serving.request.numbers import NumberList, set_aside
from serving.wire import JSON_SHAPES, MAX_IMAGES

# Keys under which an object holds its image: `b64` is TensorFlow Serving's, which KServe v1
# adopted, and `image_bytes` the input of its examples; `data` is that of TorchServe's own KServe
# examples, and of a Buffer that Node writes as JSON.
IMAGE_KEYS = ("image", "b64", "data", "image_bytes")

WHITE_SPACE = b" \t\r\n"

# Every value beyond the first comes with one of these, and base64 has none of them. An empty object
# takes 64 bytes in Python: 48 MB of "[{},{},{}]" would become 1 GB.
JSON_SEPARATORS = (b",", b"[", b"{")
MAX_JSON_SEPARATORS = 10_000


def parse_json(data: bytes | bytearray) -> object:
    """The document in `data`, in which a list of numbers under `data` is a NumberList.

    Line breaks inside strings are let pass, as base64 has them. Raises RequestError 400 for invalid
    JSON, a key that an object has twice, and too many values.
    """
    mark = secrets.token_hex(16)  # nothing that a client sends looks like it
    text, lists = set_aside(data, lambda index: f"{mark}{index}")
    if sum(map(text.count, JSON_SEPARATORS)) > MAX_JSON_SEPARATORS:
        raise RequestError(
            400,
            "json_too_complex",
            f"The JSON has more than {MAX_JSON_SEPARATORS} values beside a tensor's. "
            "Send one image, and nothing else that is large.",
            max_values=MAX_JSON_SEPARATORS,
        )

    def json_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
        document = dict(pairs)
        if len(document) < len(pairs):
            raise RequestError(
                400, "repeated_name", "An object in the JSON has the same key twice. Send it once."
            )
        value = document.get("data")
        if isinstance(value, str) and value.startswith(mark):
            document["data"] = lists[int(value[len(mark) :])]
        return document

    try:
        return json.loads(text, strict=False, object_pairs_hook=json_object)
    except (ValueError, RecursionError):
        raise RequestError(
            400,
            "invalid_json",
            "The body is declared as application/json but is not valid JSON. "
            "To send an image as it is, declare it, e.g. Content-Type: image/jpeg.",
        ) from None


def image_items(items: object) -> list[object]:
    """A list with an item for each image. Raises RequestError 400 for none, 413 for too many."""
    if not isinstance(items, list) or not items:
        raise image_missing()
    check_num_images(len(items))
    return items


def check_num_images(count: int) -> None:
    """Raises RequestError 413."""
    if count > MAX_IMAGES:
        raise RequestError(
            413,
            "too_many_images",
            f"The request holds {count} images; at most {MAX_IMAGES} are read. Send the others in "
            "requests of their own.",
            images=count,
            max_images=MAX_IMAGES,
        )


def image_field(value: object) -> object:
    """What should be the image: `value`, or what an object holds under one of IMAGE_KEYS."""
    for _ in range(2):  # {"image": {"b64": ...}} is the deepest nesting that is read
        if isinstance(value, Mapping):
            value = next((value[key] for key in IMAGE_KEYS if key in value), None)
    return value


def image_bytes(encoded: object) -> bytes:
    """A file's bytes, of base64 or of a list of them. Raises RequestError 400."""
    return encoded.as_bytes() if isinstance(encoded, NumberList) else decode_base64(encoded)


def decode_base64(encoded: object) -> bytes:
    """Base64 -> bytes; white space and the head of a data URL are skipped. Raises RequestError."""
    if not isinstance(encoded, str):
        raise image_missing()
    if encoded[:5].lower() == "data:":
        head, _, encoded = encoded.partition(",")
        if not head.lower().endswith(";base64"):
            raise _invalid_base64()
    if encoded[:2] in ("b'", 'b"'):
        raise _invalid_base64('It is Python\'s notation for bytes: send text.decode("ascii").')
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


def _invalid_base64(
    help: str = "A data URL of base64 is read as well; other URLs are not fetched.",
) -> RequestError:
    return RequestError(
        400,
        "invalid_base64",
        f"The image in the JSON is not valid base64 (RFC 4648, section 4, padded). {help}",
    )

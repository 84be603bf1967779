"""Names and shapes on the wire that the reading and the writing side share."""

from __future__ import annotations

import re
from typing import Final

JSON: Final = "application/json"
ZIP: Final = "application/zip"

# The name in every address under which the model is served: /predictions/segmenter.
MODEL_NAME: Final = "segmenter"

# Documents about the service: a request that has no image names one where an image would have an
# output format. The viewer is what a browser gets that opens a model's prediction URL; the model
# card is for programs; metadata and readiness are those of the Open Inference Protocol.
PAGE: Final = "page"
PAGE_MEDIA_TYPE: Final = "text/html"
CARD: Final = "model"
METADATA: Final = "metadata"
READY: Final = "ready"
DOCUMENTS: Final = (PAGE, CARD, METADATA, READY)

# Protocols that have a form of their own for requests and errors, by their output format's name.
KSERVE: Final = "kserve"
OPEN_INFERENCE: Final = "open-inference"
HUGGING_FACE: Final = "huggingface"

# What a gateway in front of an engine says of the address: its query, as the engine may drop it,
# and the protocol that the path belongs to.
QUERY_HEADER: Final = "X-Segmenter-Query"
PROTOCOL_HEADER: Final = "X-Segmenter-Protocol"

# JSON documents in which an image is read: our own, KServe v1, Open Inference v2, Hugging Face.
JSON_SHAPES: Final = (
    '{"image": "<base64>"}',
    '{"instances": [{"b64": "<base64>"}]}',
    '{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["<base64>"]}]}',
    '{"inputs": "<base64>"}',
)

# Form field, JSON key or query parameter that names the output format, and the header that does.
OUTPUT: Final = "output"
OUTPUT_HEADER: Final = "X-Segmenter-Output"

# Options by their name as a form field, JSON key or query parameter.
CLASSES: Final = "classes"
THRESHOLD: Final = "threshold"
NAME: Final = "name"
OPTION_HEADERS: Final = {
    CLASSES: "X-Segmenter-Classes",
    THRESHOLD: "X-Segmenter-Threshold",
    NAME: "X-Segmenter-Name",
}
OPTION_DESCRIPTIONS: Final = {
    CLASSES: "labels or ids; pixels of all other classes become void",
    THRESHOLD: "0..1; pixels whose winning class is less probable become void",
    NAME: "the image's file, for COCO and for entries of archives; percent-encoded in the header",
}

# Images of one request. On two cores the network takes some 0.7 s for each.
MAX_IMAGES: Final = 32

# Parts of a form: each image and its file's name may be one, and there are a few options.
MAX_PARTS: Final = 2 * MAX_IMAGES + 16

# Open Inference v2: the output tensors that can be requested, and the header of its binary
# extension that says how many bytes of JSON precede the raw tensors.
TENSORS: Final = ("mask", "confidence")
INFERENCE_HEADER_LENGTH: Final = "Inference-Header-Content-Length"

# A header value holds RFC 9110's visible ASCII characters and spaces between them. A line break
# would start another header, and engines disagree on how to send what is not ASCII.
UNSAFE_IN_HEADER: Final = re.compile(r"[^\x20-\x7e]")


def header_safe(text: str) -> str:
    """`text` as a header value: unsafe characters replaced by question marks, ends trimmed."""
    return UNSAFE_IN_HEADER.sub("?", text).strip()

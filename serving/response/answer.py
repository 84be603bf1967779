"""One request's answer, and its way onto TorchServe's context."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

# What a header's value may hold here: RFC 9110's visible characters and the space between them,
# less obs-text. TorchServe counts characters and sends UTF-8 bytes, so that one character beyond
# ASCII shifts all that follows on the worker's socket; a line break there ends the worker.
UNSAFE_IN_HEADER = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer. `headers` are those beyond the content type."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(content: object, status: int = 200) -> Answer:
    """An answer in compact JSON, ASCII only."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Answer(status, "application/json", text.encode("ascii"))


def send(answer: Answer, context: Any, index: int) -> bytes:
    """Set status and headers of the batch's item `index` on TorchServe's context; return its body.

    This is TorchServe's one way to answer a single request of a batch with an error.
    """
    phrase = HTTPStatus(answer.status).phrase
    context.set_response_status(answer.status, phrase, index)
    context.set_response_content_type(index, header_safe(answer.content_type))
    for name, value in answer.headers.items():
        context.set_response_header(index, name, header_safe(value))
    return answer.body


def header_safe(text: str) -> str:
    """`text` with a question mark for all that must not stand in a header."""
    return UNSAFE_IN_HEADER.sub("?", text).strip()

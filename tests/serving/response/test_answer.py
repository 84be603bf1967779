from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

import pytest
from ts.protocol.otf_message_handler import create_predict_response

from serving.response.answer import Answer, json_answer, send


@dataclass
class Wire:
    """One item of a worker's response, read as TorchServe's frontend reads it: by its lengths."""

    status: int
    phrase: str
    content_type: str
    headers: dict[str, str]
    body: bytes


def read_wire(message: bytes) -> Wire:
    stream = io.BytesIO(message)

    def number() -> int:
        return int(struct.unpack("!i", stream.read(4))[0])

    def text() -> str:
        return stream.read(number()).decode("utf-8")

    number(), text(), text()  # the batch's status, its phrase, the request's id
    content_type, status, phrase = text(), number(), text()
    headers = {text(): text() for _ in range(number())}
    body = stream.read(number())
    assert number() == -1, "the end of the batch is not where the lengths put it"
    return Wire(status, phrase, content_type, headers, body)


def sent(answer: Answer, torchserve: Any) -> Wire:
    _, context = torchserve([("body", "", bytearray())], {})
    body = send(answer, context, 0)
    return read_wire(
        create_predict_response([body], context.request_ids, "ok", 200, context=context)
    )


def test_status_headers_and_body_reach_the_wire(torchserve: Any) -> None:
    wire = sent(Answer(413, "image/png", b"\x89PNG", {"Model-Name": "toy"}), torchserve)
    assert (wire.status, wire.content_type, wire.body) == (413, "image/png", b"\x89PNG")
    assert wire.phrase.endswith("Too Large")  # "Request Entity" or, from Python 3.13, "Content"
    assert wire.headers["Model-Name"] == "toy"


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        ("a\r\nSet-Cookie: x=1", "a??Set-Cookie: x=1"),
        ("stra\u00dfe \U0001f697", "stra?e ?"),
        ("tab\there\x00\x7f", "tab?here??"),
        (" padded ", "padded"),
        ("decode;dur=1.2, forward;dur=30.0", "decode;dur=1.2, forward;dur=30.0"),
    ],
)
def test_headers_hold_visible_ascii_only(torchserve: Any, value: str, safe: str) -> None:
    wire = sent(Answer(200, f"text/{value}", b"", {"Model-Name": value}), torchserve)
    assert wire.headers["Model-Name"] == safe
    assert wire.content_type.isascii()


def test_json_is_compact_ascii() -> None:
    answer = json_answer({"label": "stra\u00dfe", "n": [1, 2]}, 400)
    assert answer.body == b'{"label":"stra\\u00dfe","n":[1,2]}'
    assert (answer.status, answer.content_type) == (400, "application/json")

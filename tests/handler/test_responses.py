from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

from ts.protocol.otf_message_handler import create_predict_response

from handler import set_response
from serving.types import Response


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


def sent(response: Response, torchserve: Any) -> Wire:
    _, context = torchserve([("body", "", bytearray())], {})
    body = set_response(response, context, 0)
    return read_wire(
        create_predict_response([body], context.request_ids, "ok", 200, context=context)
    )


def test_status_headers_and_body_reach_the_wire(torchserve: Any) -> None:
    wire = sent(Response(413, "image/png", b"\x89PNG", {"Model-Name": "toy"}), torchserve)
    assert (wire.status, wire.content_type, wire.body) == (413, "image/png", b"\x89PNG")
    assert wire.phrase.endswith("Too Large")  # "Request Entity" or, from Python 3.13, "Content"
    assert wire.headers["Model-Name"] == "toy"

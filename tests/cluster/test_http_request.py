"""A body that arrives in pieces is in memory once."""

from __future__ import annotations

import asyncio
import tracemalloc

from starlette.requests import Request
from starlette.types import Message

from cluster.http_request import read_body

PIECE = 1 << 16
PIECES = 256

SCOPE = {"type": "http", "method": "POST", "path": "/", "headers": []}


def test_a_body_is_in_memory_once() -> None:
    left = PIECES

    async def receive() -> Message:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": bytes(PIECE), "more_body": left > 0}

    async def peak() -> float:
        """The most memory at a time, in units of the body's size."""
        tracemalloc.start()
        try:
            body = await read_body(Request(SCOPE, receive))
            return tracemalloc.get_traced_memory()[1] / len(body)
        finally:
            tracemalloc.stop()

    assert 1 <= asyncio.run(peak()) < 1.5

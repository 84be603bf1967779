"""TorchServe's own side of the worker's socket."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

# A machine for GPU tests need not have TorchServe.
collect_ignore_glob = [] if find_spec("ts") else ["test_*.py"]


@pytest.fixture
def torchserve() -> Any:
    """parts, headers -> (row, context) as TorchServe hands them to a handler, for one request.

    A part is (name, content type, value); headers have the client's spelling.
    """

    from ts.context import Context
    from ts.service import Service

    def receive(
        parts: list[tuple[str, str, object]], headers: dict[str, str]
    ) -> tuple[dict[str, object], Any]:
        request = {
            "requestId": b"5d0e4a4c",
            "headers": [
                {"name": name.encode(), "value": value.encode()} for name, value in headers.items()
            ],
            "parameters": [
                {"name": name, "contentType": content_type, "value": value}
                for name, content_type, value in parts
            ],
        }
        processors, (row,), request_ids = Service.retrieve_data_for_inference([request])
        context = Context("toy", ".", {}, 1, None, "0.12.0")
        context.request_processor = processors
        context.request_ids = request_ids
        return row, context

    return receive

from __future__ import annotations

import pytest

from serving.wire import header_safe


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
def test_headers_hold_visible_ascii_only(value: str, safe: str) -> None:
    assert header_safe(value) == safe

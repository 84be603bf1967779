"""HTTP requests as bytes on the wire: anything can be written, nothing is corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MODEL_PATH = "/predictions/segmenter"
BOUNDARY = b"f7u2z2z9"  # between the parts of a multipart body


@dataclass(frozen=True)
class Part:
    """A part of a multipart body; `attributes` follow the name in Content-Disposition."""

    name: str
    content: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)


def request_bytes(
    body: bytes, headers: Mapping[str, str], path: str = MODEL_PATH, method: str = "POST"
) -> bytes:
    """A well-formed request, apart from what the arguments break."""
    all_headers = {
        "Host": "localhost",
        "Connection": "close",
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {all_headers[name]}" for name in all_headers)]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def multipart(parts: list[Part], content_type: str) -> bytes:
    """A multipart/form-data body; parts with attributes also have the content type, if any."""
    body = b""
    for part in parts:
        disposition = f'form-data; name="{part.name}"'
        for key, value in part.attributes.items():
            disposition += f'; {key}="{value}"'
        head = f"Content-Disposition: {disposition}\r\n"
        if part.attributes and content_type:
            head += f"Content-Type: {content_type}\r\n"
        body += b"--" + BOUNDARY + b"\r\n" + head.encode() + b"\r\n" + part.content + b"\r\n"
    return body + b"--" + BOUNDARY + b"--\r\n"


def method_of(request: bytes) -> str:
    return request.partition(b" ")[0].decode("latin-1")


def with_bearer_token(request: bytes, token: str) -> bytes:
    """The request with the token after its request line, if it has one."""
    request_line, end, rest = request.partition(b"\r\n")
    header = f"Authorization: Bearer {token}\r\n".encode("ascii")
    return request_line + end + header + rest if end else request

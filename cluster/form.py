"""A multipart form in memory -> its parts."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from serving.errors import RequestError
from serving.wire import MAX_PARTS

# Content-Transfer-Encoding: those that leave the bytes as they are (RFC 7578, section 4.7).
IDENTITY = (b"", b"7bit", b"8bit", b"binary")


@dataclass
class Part:
    """A field of a form, or a file if it has a file's name."""

    headers: dict[bytes, bytes] = field(default_factory=dict)  # by name in lower case
    data: bytearray = field(default_factory=bytearray)
    name: str = ""
    filename: str | None = None


def parse_form(content_type: str, body: bytes | bytearray) -> list[Part]:
    """The parts, in their order. Raises RequestError 400: broken, cut off, or too many parts."""
    media_type, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if media_type.lower() != b"multipart/form-data" or not boundary:
        raise broken("it declares no boundary")
    collector = Collector()
    try:
        parser = MultipartParser(boundary, collector.callbacks())  # type: ignore[arg-type]
        parser.write(body)  # type: ignore[arg-type]  # declared for bytes alone
        parser.finalize()
    except (MultipartParseError, ValueError):
        raise broken("its parts do not follow their boundary") from None
    if not collector.is_complete:
        raise broken("it ends before its last boundary")
    return [named(part) for part in collector.parts]


def named(part: Part) -> Part:
    """The part with the names in its headers."""
    disposition, options = parse_options_header(part.headers.get(b"content-disposition"))
    encoding = part.headers.get(b"content-transfer-encoding", b"").strip().lower()
    if disposition.lower() != b"form-data" or not options.get(b"name"):
        raise broken("a part has no name")
    if encoding not in IDENTITY:
        raise broken("a part is encoded; send its bytes as they are")
    part.name = text(options[b"name"])
    part.filename = text(options[b"filename"]) if b"filename" in options else None
    return part


def text(name: bytes) -> str:
    """Browsers send names in UTF-8 (https://html.spec.whatwg.org/#multipart-form-data)."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise broken("a name is not UTF-8") from None


def broken(reason: str) -> RequestError:
    return RequestError(
        400,
        "bad_request",
        f"The multipart form cannot be parsed: {reason}. "
        "Send the photo alone as the body, or a form as curl -F makes it.",
    )


class Collector:
    """What the parser calls back with, as parts."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.header_name = bytearray()
        self.header_value = bytearray()
        self.is_complete = False

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self.begin,
            "on_header_field": lambda data, start, end: self.header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self.header_value.extend(data[start:end]),
            "on_header_end": self.end_header,
            "on_part_data": lambda data, start, end: self.parts[-1].data.extend(data[start:end]),
            "on_end": self.end,
        }

    def begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise broken(f"it has more than {MAX_PARTS} parts")
        self.parts.append(Part())

    def end_header(self) -> None:
        self.parts[-1].headers[bytes(self.header_name).lower()] = bytes(self.header_value)
        self.header_name.clear()
        self.header_value.clear()

    def end(self) -> None:
        self.is_complete = True

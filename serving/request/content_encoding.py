"""Compressed bodies: Content-Encoding (RFC 9110, section 8.4)."""

from __future__ import annotations

import zlib
from typing import Final

from serving.errors import RequestError
from serving.request.options import quoted

# Bytes of a body when it is inflated: what engines accept of one that is not compressed
# (max_request_size in config.properties). Gzip makes 48 KB of 48 MB of zeros.
MAX_INFLATED: Final = 48 * 1024 * 1024

GZIP_FORMAT: Final = 31  # zlib's wbits for gzip's header, and the largest window

# Members of a body (RFC 1952, section 2.2). bgzip makes 772 of MAX_INFLATED, in blocks of 64 KB;
# 48 MB of empty ones, 20 bytes each, would take 27 s.
MAX_MEMBERS: Final = 1024

PIECE: Final = 1 << 16  # bytes inflated at once: as many may be copied at the end of each member


def decoded(body: bytes | bytearray, coding: str) -> bytes | bytearray:
    """A body as it was before its Content-Encoding, `coding`.

    Raises RequestError: 415 for a coding other than gzip, 400 for a body that is not valid gzip,
    413 for one of more than MAX_INFLATED bytes.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip"):
        raise RequestError(
            415,
            "unsupported_encoding",
            f"The Content-Encoding {quoted(coding)} is not read. "
            "Send the body as it is, or compressed by gzip.",
            encodings=["gzip", "identity"],
        )
    return _inflated(body)


def _inflated(body: bytes | bytearray) -> bytearray:
    """All members, one after the other."""
    data = bytearray()
    position = 0
    for _ in range(MAX_MEMBERS):
        position = _inflate_member(body, position, data)
        if position == len(body):
            return data
    raise _invalid(f"has more than {MAX_MEMBERS} members")


def _inflate_member(body: bytes | bytearray, position: int, data: bytearray) -> int:
    """Append the member that begins at `position` to `data`; the position behind it."""
    inflater = zlib.decompressobj(GZIP_FORMAT)
    while not inflater.eof:
        piece = body[position : position + PIECE]
        if not piece:
            raise _invalid("ends early")
        try:
            data += inflater.decompress(piece, MAX_INFLATED + 1 - len(data))
        except zlib.error:
            raise _invalid("is not valid gzip") from None
        if len(data) > MAX_INFLATED:
            raise RequestError(
                413,
                "body_too_large",
                f"The body inflates to more than {MAX_INFLATED} bytes. Send a smaller image.",
                max_bytes=MAX_INFLATED,
            )
        position += len(piece) - len(inflater.unused_data)
    return position


def _invalid(reason: str) -> RequestError:
    return RequestError(
        400, "invalid_gzip", f"The body is declared as Content-Encoding: gzip, but it {reason}."
    )

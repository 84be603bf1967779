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


def _inflated(body: bytes | bytearray) -> bytes:
    inflater = zlib.decompressobj(GZIP_FORMAT)
    try:
        data = inflater.decompress(body, MAX_INFLATED + 1)
    except zlib.error:
        raise _invalid("is not valid gzip") from None
    if len(data) > MAX_INFLATED:
        raise RequestError(
            413,
            "body_too_large",
            f"The body inflates to more than {MAX_INFLATED} bytes. Send a smaller image.",
            max_bytes=MAX_INFLATED,
        )
    if not inflater.eof:
        raise _invalid("ends early")
    if inflater.unused_data:
        raise _invalid("goes on after its end")
    return data


def _invalid(reason: str) -> RequestError:
    return RequestError(
        400, "invalid_gzip", f"The body is declared as Content-Encoding: gzip, but it {reason}."
    )

"""Long lists of numbers in JSON, as bytes: tensors, and what Node makes of a Buffer.

Python's parser would make an object of every number. So a list of numbers under the key `data` is
set aside as text before the document is parsed, and NumPy reads it where an image is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from serving.errors import RequestError

# A list, or nested lists, of nothing but numbers. In a string a quotation mark is escaped, so this
# is a key.
NUMBER_LIST: Final = re.compile(rb'(?<!\\)"data"\s*:\s*(\[[-+.eE0-9\s,\[\]]*\])')

WHITE_SPACE: Final = b" \t\r\n\v\f"

BRACKETS_TO_SPACES: Final = bytes.maketrans(b"[]", b"  ")

MAX_LISTS: Final = 64  # of one document: more than it may have images

PIECE: Final = 1 << 20  # bytes of text that are converted at once: in between, 8 for each number


@dataclass(frozen=True)
class NumberList:
    """A JSON list of numbers, flat or nested, still as text."""

    text: bytes

    def as_bytes(self) -> bytes:
        """The numbers, in their order, as bytes.

        Raises RequestError for any that is not 0..255, and where the brackets are not one list's.
        """
        if not _is_one_list(self.text):
            raise _not_bytes()
        flat = self.text.translate(BRACKETS_TO_SPACES)
        if not flat.strip():
            return b""
        if b",," in b"," + flat.translate(None, WHITE_SPACE) + b",":
            raise _not_bytes()  # NumPy would read a zero where a number is missing
        pieces = []
        start = 0
        while start < len(flat):
            comma = flat.find(b",", start + PIECE)
            end = len(flat) if comma < 0 else comma
            pieces.append(_bytes_of(flat[start:end]))
            start = end + 1
        return b"".join(pieces)


def set_aside(
    data: bytes | bytearray, name: Callable[[int], str]
) -> tuple[bytes, list[NumberList]]:
    """JSON without its lists of numbers, and those lists; `name(i)` stands where the i-th was.

    Lists beyond the first MAX_LISTS stay where they are.
    """
    lists: list[NumberList] = []

    def replacement(match: re.Match[bytes]) -> bytes:
        lists.append(NumberList(match[1]))
        return b'"data":"%s"' % name(len(lists) - 1).encode("ascii")

    return NUMBER_LIST.sub(replacement, data, count=MAX_LISTS), lists


def _is_one_list(text: bytes) -> bool:
    """Whether the first bracket is closed by the last one, and each in between by its own."""
    depth = 0  # behind the piece
    for start in range(0, len(text), PIECE):
        if start > 0 and depth == 0:
            return False
        piece = np.frombuffer(text, np.uint8, min(PIECE, len(text) - start), start)
        steps = (piece == ord("[")).astype(np.int8) - (piece == ord("]"))
        depths = depth + np.cumsum(steps, dtype=np.int64)
        if (depths[:-1] < 1).any():
            return False
        depth = int(depths[-1])
    return depth == 0


def _bytes_of(text: bytes) -> bytes:
    """Numbers between commas."""
    try:
        # As integers: NumPy reads floats five times as slowly. Too large ones become the largest.
        values = np.fromstring(text, dtype=np.int64, sep=",")
    except (ValueError, DeprecationWarning):  # what NumPy makes of anything but integers
        raise _not_bytes() from None
    is_byte = (values >= 0) & (values <= 255)
    if len(values) != text.count(b",") + 1 or not is_byte.all():
        raise _not_bytes()
    return values.astype(np.uint8).tobytes()


def _not_bytes() -> RequestError:
    return RequestError(
        400,
        "invalid_bytes",
        "The numbers in `data` are not bytes: each has to be an integer from 0 to 255. "
        "For a tensor of other values, send UINT8, or the image's file in base64.",
    )

"""TIFF files written tag by tag, so that they can arrange samples as no library would."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

Values = bytes | str | int | Sequence[int]

TYPES = {"ASCII": 2, "SHORT": 3, "LONG": 4, "UNDEFINED": 7, "LONG8": 16}
CODES = {2: "s", 3: "H", 4: "I", 7: "s", 16: "Q"}
LONG_TAGS = (254, 256, 257, 273, 278, 279, 322, 323, 324, 325, 330)


def tiff_file(
    *directories: tuple[Mapping[int, Values], Sequence[bytes]],
    order: str = "<",
    big: bool = False,
    sub_directories: int = 0,
) -> bytes:
    """Directories of tags, and the strips or tiles of each; an empty piece is left out.

    A text becomes ASCII, bytes UNDEFINED, numbers SHORT or, for sizes and offsets, LONG. Lengths of
    pieces may be stated. The last `sub_directories` belong to the first one (SubIFDs, 330) instead
    of following it.
    """
    file = bytearray(_header(order, big=big))
    chained = len(directories) - sub_directories
    tags = [dict(entries) for entries, _ in directories]
    for entries, (_, pieces) in zip(tags, directories):
        offsets = []
        for piece in pieces:
            offsets.append(len(file) if piece else 0)
            file += piece
        tiled = 322 in entries
        entries[324 if tiled else 273] = offsets
        entries.setdefault(325 if tiled else 279, [len(piece) for piece in pieces])
    starts: dict[int, int] = {}
    for index in reversed(range(len(directories))):
        if index == 0 and sub_directories:
            tags[0][330] = [starts[each] for each in range(chained, len(directories))]
        following = starts.get(index + 1, 0) if index + 1 < chained else 0
        starts[index] = _append(file, tags[index], following, order, big=big)
    file[: len(_header(order, big=big))] = _header(order, big=big, first=starts[0])
    return bytes(file)


def _header(order: str, *, big: bool, first: int = 0) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    if big:
        return mark + struct.pack(f"{order}HHHQ", 43, 8, 0, first)
    return mark + struct.pack(f"{order}HI", 42, first)


def _append(
    file: bytearray, tags: Mapping[int, Values], following: int, order: str, *, big: bool
) -> int:
    """Append a directory behind the values that do not fit into it; returns where it starts."""
    inline = 8 if big else 4
    word = "Q" if big else "I"
    entries = b""
    for tag, values in sorted(tags.items()):
        kind, count, content = _packed(tag, values, order)
        if len(content) > inline:
            at = len(file)
            file += content + bytes(len(content) % 2)
            content = struct.pack(order + word, at)
        entries += struct.pack(f"{order}HH{word}", tag, kind, count) + content.ljust(inline, b"\0")
    start = len(file)
    file += struct.pack(order + ("Q" if big else "H"), len(tags)) + entries
    file += struct.pack(order + word, following)
    return start


def _packed(tag: int, values: Values, order: str) -> tuple[int, int, bytes]:
    """(type, number of values, their bytes)"""
    if isinstance(values, str):
        content = values.encode("ascii") + b"\0"
        return TYPES["ASCII"], len(content), content
    if isinstance(values, bytes):
        return TYPES["UNDEFINED"], len(values), values
    numbers = [values] if isinstance(values, int) else list(values)
    kind = TYPES["LONG" if tag in LONG_TAGS else "SHORT"]
    return kind, len(numbers), struct.pack(f"{order}{len(numbers)}{CODES[kind]}", *numbers)

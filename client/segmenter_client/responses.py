"""The bodies of responses, parsed: whatever is wrong with one becomes InvalidResponse."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Final, TypedDict, TypeVar

from PIL import Image

from segmenter_client.errors import InvalidResponse
from segmenter_client.formats import FILE_SUFFIXES

T = TypeVar("T")

PARSE_ERRORS: Final = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, OSError),
    *(zipfile.BadZipFile, RuntimeError),  # the latter of an encrypted or unknown entry
)
QUOTED_BYTES = 80  # of an invalid body, in the message


class Size(TypedDict):
    height: int
    width: int


class Rle(TypedDict):
    """COCO's compressed run lengths, column-major."""

    counts: str


class ClassEntry(TypedDict):
    id: int
    label: str
    colour: list[int]  # RGB, 0..255
    pixels: int
    fraction: float
    bbox: list[int]  # x, y, width, height, px
    confidence: float
    rle: Rle


class Summary(TypedDict):
    """The output format `json`, as far as it is read here."""

    size: Size
    model: dict[str, str]
    classes: list[ClassEntry]  # every pixel belongs to one of them, void included


def parse(body: bytes, parser: Callable[[bytes], T]) -> T:
    """`parser(body)`. Raises InvalidResponse for every way in which the body can be wrong."""
    try:
        return parser(body)
    except PARSE_ERRORS as error:
        raise InvalidResponse(f"not the service's response: {body[:QUOTED_BYTES]!r}") from error


def parse_archive(body: bytes, output_formats: Sequence[str]) -> dict[str, bytes]:
    """The responses by format, of a ZIP archive with a file for each, in their order."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        files = archive.namelist()
        suffixes = [FILE_SUFFIXES[name] for name in output_formats]
        if len(files) != len(suffixes) or not all(map(str.endswith, files, suffixes)):
            raise ValueError(f"the archive holds {', '.join(files)}")
        return {name: archive.read(file) for name, file in zip(output_formats, files)}


def picture(body: bytes) -> Image.Image:
    """Raises OSError for what is not an image."""
    image = Image.open(io.BytesIO(body))
    image.load()
    return image

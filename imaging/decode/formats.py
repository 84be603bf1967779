"""A file's format, by the signature that its bytes begin with."""

from __future__ import annotations

import re
from typing import Final, Literal

from imaging.errors import UnreadableImage, UnsupportedImage

ImageFormat = Literal["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"]

READ_FORMATS: Final[tuple[ImageFormat, ...]] = ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF")

SIGNATURES: Final[dict[ImageFormat, re.Pattern[bytes]]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    # Many a text begins with "BM"; a bitmap has one of seven header sizes at byte 14.
    "BMP": re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "GIF": re.compile(rb"GIF8[79]a"),
}

# Formats that are not read, but sent often enough to be refused by name.
OTHER_SIGNATURES: Final[dict[str, re.Pattern[bytes]]] = {
    "HEIC": re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi", re.DOTALL),
    "PDF": re.compile(rb"\s*%PDF-"),
    "SVG": re.compile(rb"[^\0]{0,1024}?<svg\b"),
}


def format_of(data: bytes) -> ImageFormat:
    """The format that the first bytes announce. Raises UnsupportedImage."""
    for name, signature in SIGNATURES.items():
        if signature.match(data):
            return name
    other = next((name for name, seen in OTHER_SIGNATURES.items() if seen.match(data)), None)
    found = f"{other} files are" if other else "The format of these bytes is"
    raise UnsupportedImage(
        "unsupported_format",
        f"{found} not read. Send one of: {', '.join(READ_FORMATS)}.",
        formats=list(READ_FORMATS),
    )


def too_complex(name: ImageFormat) -> UnreadableImage:
    """The error for a file built to cost far more than its bytes and its size suggest."""
    return UnreadableImage(
        "image_too_complex",
        f"The {name} file is split into too many parts. Save it again as plain JPEG or PNG.",
    )

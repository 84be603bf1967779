"""A file's format, by the signature that its bytes begin with."""

from __future__ import annotations

import importlib.util
import re
from typing import Final, Literal

from PIL import features

from imaging.errors import UnreadableImage, UnsupportedImage

ImageFormat = Literal["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "AVIF", "HEIC"]

# An ISO base media file begins with its brands, four letters each (ISO/IEC 14496-12, 4.3). The
# first one may be general, such as mif1, and the one that names the codec may come later.
BRANDS: Final = rb"....ftyp(?:....){0,32}?"

SIGNATURES: Final[dict[ImageFormat, re.Pattern[bytes]]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    # Many a text begins with "BM"; a bitmap has one of eight header sizes at byte 14.
    "BMP": re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "AVIF": re.compile(BRANDS + rb"avi[fs]", re.DOTALL),
    "HEIC": re.compile(BRANDS + rb"he[iv][cmsx]", re.DOTALL),
}

# Formats that not every installation reads: older Pillows have no AVIF, and HEIC needs pillow-heif.
IS_AVAILABLE: Final[dict[ImageFormat, bool]] = {
    "AVIF": "avif" in features.modules and bool(features.check("avif")),
    "HEIC": importlib.util.find_spec("pillow_heif") is not None,
}
READ_FORMATS: Final[tuple[ImageFormat, ...]] = tuple(
    name for name in SIGNATURES if IS_AVAILABLE.get(name, True)
)

# Formats that are not read, but sent often enough to be refused by name.
MARKUP: Final = rb"(?:\xef\xbb\xbf)?(?:\s|<\?xml[^>]{0,200}\?>|<!--(?:(?!-->).)*-->)*"
OTHER_SIGNATURES: Final[dict[str, re.Pattern[bytes]]] = {
    "HEIF": re.compile(rb"....ftyp(?:mif1|msf1)", re.DOTALL),
    "MP4": re.compile(rb"....ftyp(?:iso|mp4|M4V|qt  |3gp|avc1)", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "PSD": re.compile(rb"8BPS\0"),
    "PDF": re.compile(rb"\s*%PDF-"),
    "HTML": re.compile(MARKUP + rb"<(?:!doctype\s+html|html|head|body)\b", re.DOTALL | re.I),
    "SVG": re.compile(MARKUP + rb"(?:<!doctype\s+svg[^>]{0,400}>\s*)?<svg\b", re.DOTALL | re.I),
}

# What whoever has such a file can do, besides sending another.
WAYS_OUT: Final = {
    "AVIF": "This service reads them with Pillow 11.3 or later.",
    "HEIC": "This service reads them if the package pillow-heif is installed. iPhones take JPEG "
    "photos with Settings > Camera > Formats > Most Compatible.",
    "HTML": "If it came from an address, that probably returned a page, such as an error or a "
    "login: open the file in a browser to read it.",
}
HEAD_BYTES: Final = 4096  # in which a signature lies


def format_of(data: bytes) -> ImageFormat:
    """The format that the first bytes announce. Raises UnsupportedImage."""
    head = data[:HEAD_BYTES]
    for name, signature in SIGNATURES.items():
        if signature.match(head) and name in READ_FORMATS:
            return name
    others = (*SIGNATURES.items(), *OTHER_SIGNATURES.items())
    other = next((name for name, signature in others if signature.match(head)), "")
    raise not_read(f"{other} files are" if other else "The format of these bytes is", other)


def not_read(what: str, name: str = "") -> UnsupportedImage:
    """The error for `what`, such as "JPEG files of 12 bits are"; `name` is a format's."""
    return UnsupportedImage(
        "unsupported_format",
        " ".join(
            (
                f"{what} not read.",
                *([WAYS_OUT[name]] if name in WAYS_OUT else []),
                f"Send one of: {', '.join(READ_FORMATS)}.",
            )
        ),
        formats=list(READ_FORMATS),
    )


def too_complex(name: ImageFormat) -> UnreadableImage:
    """The error for a file built to cost far more than its bytes and its size suggest."""
    return UnreadableImage(
        "image_too_complex",
        f"The {name} file is split into too many parts. Save it again as plain JPEG or PNG.",
    )

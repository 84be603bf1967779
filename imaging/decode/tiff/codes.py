"""What the values of a TIFF's tags mean, and how they are called in messages."""

from __future__ import annotations

from typing import Final

from imaging.decode.formats import READ_FORMATS
from imaging.errors import UnsupportedImage

# COMPRESSION
UNCOMPRESSED: Final = 1
LZW: Final = 5
OLD_JPEG: Final = 6
JPEG: Final = 7
DEFLATE: Final = 8
PACKBITS: Final = 32773
OLD_DEFLATE: Final = 32946
LZMA: Final = 34925
ZSTD: Final = 50000
WEBP: Final = 50001
JPEGS: Final = (OLD_JPEG, JPEG)
COMPRESSION_NAMES: Final = {
    **{UNCOMPRESSED: "no", 2: "CCITT", 3: "CCITT group 3", 4: "CCITT group 4", LZW: "LZW"},
    **{OLD_JPEG: "old JPEG", OLD_DEFLATE: "deflate"},
    **{JPEG: "JPEG", DEFLATE: "deflate", 9: "JBIG", 10: "JBIG", 32809: "ThunderScan"},
    **{PACKBITS: "PackBits", 34676: "SGILog", 34677: "SGILog", 33003: "JPEG 2000"},
    **{33004: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC"},
    **{LZMA: "LZMA", 34892: "lossy JPEG", 34933: "PNG", 48124: "JPEG XR", ZSTD: "Zstandard"},
    **{WEBP: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"},
}

# PLANAR_CONFIGURATION
INTERLEAVED: Final = 1
PLANES: Final = 2

# PHOTOMETRIC_INTERPRETATION
WHITE_IS_ZERO: Final = 0
BLACK_IS_ZERO: Final = 1
RGB: Final = 2
PALETTE: Final = 3
CMYK: Final = 5
YCBCR: Final = 6
LAB: Final = 8
COLOUR_FILTER_ARRAY: Final = 32803
LINEAR_RAW: Final = 34892
PHOTOMETRIC_NAMES: Final = {
    **{WHITE_IS_ZERO: "grey", BLACK_IS_ZERO: "grey", RGB: "RGB", PALETTE: "palette"},
    **{4: "transparency mask", CMYK: "CMYK", YCBCR: "YCbCr", LAB: "CIELAB", 9: "ICCLAB"},
    **{10: "ITULAB", 32844: "LogL", 32845: "LogLuv"},
}

# EXTRASAMPLES
UNSPECIFIED: Final = 0
PREMULTIPLIED_ALPHA: Final = 1
ALPHA: Final = 2
CORELDRAW_ALPHA: Final = 999


def unsupported(kind: str) -> UnsupportedImage:
    """The error for a valid TIFF of a kind that is not read; `kind` follows "TIFF files "."""
    return UnsupportedImage(
        "unsupported_format",
        f"TIFF files {kind} are not read. Save it again as plain JPEG or PNG.",
        formats=list(READ_FORMATS),
    )


def compression_name(code: int) -> str:
    return f"{COMPRESSION_NAMES.get(code, 'unknown')} compression ({code})"


def photometric_name(code: int) -> str:
    return f"{PHOTOMETRIC_NAMES.get(code, 'unknown')} pixels (photometric interpretation {code})"

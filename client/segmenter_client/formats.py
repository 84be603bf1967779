"""The formats of files: images that the service reads, and its output formats as files."""

from __future__ import annotations

from typing import Final

# The files in a folder that are taken for images; a file given by name may have any extension.
IMAGE_EXTENSIONS: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
        *(".avif", ".heic", ".heif"),
    )
)

# Output format -> what is appended to the image's file name. The service's registry has the same
# suffixes; a copy, because the client is installed without the service.
FILE_SUFFIXES: Final = {
    "mask": ".mask.png",
    "overlay": ".overlay.jpg",
    "json": ".json",
    "confidence": ".confidence.png",
    "npy": ".npy",
    "coco": ".coco.json",
    "coco-polygons": ".coco-polygons.json",
    "geojson": ".geojson",
    "labelstudio": ".labelstudio.json",
    "cvat": ".cvat.json",
}


def is_text(output_format: str) -> bool:
    """Whether a file of that format is text: all but pictures and arrays are JSON."""
    return FILE_SUFFIXES[output_format].endswith("json")

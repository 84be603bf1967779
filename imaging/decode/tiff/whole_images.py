"""TIFFs whose pieces are images by themselves, or fax: what of them Pillow and libtiff read."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.decode.tiff import codes
from imaging.decode.tiff.codes import unsupported
from imaging.decode.tiff.directory import STRIPS, TILES, TiffDirectory

# With these, and with plain samples that are YCbCr or CIELAB.
COMPRESSIONS: Final = frozenset(tags.COMPRESSION_INFO)


def check_whole_images(directory: TiffDirectory) -> None:
    """Raises UnsupportedImage for a kind that Pillow does not read, or does not read rightly."""
    compression = directory.number(tags.COMPRESSION, codes.UNCOMPRESSED)
    name = codes.compression_name(compression)
    if compression not in COMPRESSIONS:
        raise unsupported(f"with {name}")
    if directory.is_big and directory.order == "big":
        raise unsupported(f"that are big-endian BigTIFF with {name}")
    for offsets, _ in (STRIPS, TILES):
        table = directory.layout.get(offsets)
        if table is not None and not np.all(directory.values(table)):
            raise unsupported(f"with {name} of which pieces are left out")

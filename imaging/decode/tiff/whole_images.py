"""TIFFs that are no plain samples: old JPEG, fax, chroma at a lower resolution, CIELAB.

Pillow and libtiff read them by their own tags. What those two do not read, or not rightly, is
refused here by name.
"""

from __future__ import annotations

from typing import Final

from PIL import ExifTags
from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.decode.deadline import TimedFile
from imaging.decode.orientation import TRANSPOSITIONS
from imaging.decode.tiff import codes
from imaging.decode.tiff.codes import unsupported
from imaging.decode.tiff.directory import STRIPS, TILES, TiffDirectory
from imaging.decode.tiff.structure import ends_early
from imaging.errors import UnsupportedImage

COMPRESSIONS: Final = frozenset(tags.COMPRESSION_INFO) - {codes.WEBP}  # libtiff without WebP
NO_SUBSAMPLING: Final = [1, 1]


class TiffFile(tags.TiffImageFile):
    """Pillow's reader, less the directories below the first: 30 MB of them would become 1 GB."""

    def load_end(self) -> None:
        turn = TRANSPOSITIONS.get(self.tag_v2.get(ExifTags.Base.Orientation))
        if turn is not None:
            self.im = self.im.transpose(turn)
        self._size = self.im.size


def open_whole_images(directory: TiffDirectory, max_seconds: float) -> TiffFile:
    """The image, of which only the header is read so far.

    Raises UnsupportedImage for a kind that is not read, and whatever Pillow does.
    """
    _check_kind(directory)
    try:
        reader = TiffFile(TimedFile(directory.as_first(), max_seconds))
    except SyntaxError as error:
        # Pillow raises this in place of unexpected errors, too, and then with those as message.
        if not isinstance(error.msg, str) or ends_early(directory):
            raise
        raise _unknown_pixels(directory) from error
    # Pillow stops at a tag that is broken, and skips some that are not; libtiff decodes by all.
    if not all(tag in reader.tag_v2 for tag in directory.layout):
        raise ValueError("tags of the pixels' layout behind one that is broken")
    return reader


def _check_kind(directory: TiffDirectory) -> None:
    """Raises UnsupportedImage for what Pillow and libtiff do not read, or not rightly."""
    compression = directory.number(tags.COMPRESSION, codes.UNCOMPRESSED)
    name = codes.compression_name(compression)
    if compression not in COMPRESSIONS:
        raise unsupported(f"with {name}")
    if directory.is_big and directory.order == "big":  # Pillow takes it for a classic TIFF
        raise unsupported(f"that are big-endian BigTIFF with {name}")
    for offsets, _ in (STRIPS, TILES):
        table = directory.layout.get(offsets)
        if table is not None and not directory.values(table).all():
            raise unsupported(f"with {name} of which pieces are left out")
    photometric = directory.first(tags.PHOTOMETRIC_INTERPRETATION, codes.WHITE_IS_ZERO)
    if photometric == codes.YCBCR and compression not in codes.JPEGS:
        _check_chroma(directory, compression)


def _unknown_pixels(directory: TiffDirectory) -> UnsupportedImage:
    """The error for pixels of which Pillow does not know what they are."""
    photometric = directory.first(tags.PHOTOMETRIC_INTERPRETATION, codes.WHITE_IS_ZERO)
    bits = directory.first(tags.BITSPERSAMPLE, 1)
    channels = directory.first(tags.SAMPLESPERPIXEL, 1)
    name = codes.photometric_name(photometric)
    return unsupported(f"of {name}, {channels} channels of {bits} bits")


def _check_chroma(directory: TiffDirectory, compression: int) -> None:
    """YCbCr that is not JPEG: Pillow reads it uncompressed at full resolution, libtiff the rest."""
    factors = directory.layout.get(tags.YCBCRSUBSAMPLING)
    stated = None if factors is None else directory.values(factors).tolist()
    planes = directory.number(tags.PLANAR_CONFIGURATION, codes.INTERLEAVED) == codes.PLANES
    if compression == codes.UNCOMPRESSED:
        # Without the tag it is 2x2 by the standard, and none at all by Pillow until 8.3.
        if planes or stated not in (None, NO_SUBSAMPLING):
            raise unsupported("of uncompressed YCbCr pixels in planes, or with subsampled colours")
    elif stated is None:
        raise unsupported("of YCbCr pixels that do not state their subsampling")
    elif planes and stated != NO_SUBSAMPLING:
        raise unsupported("of YCbCr pixels in planes, with subsampled colours")

"""A TIFF of plain samples -> an upright picture of 8 bits, and which of its pixels are valid.

directory -> layout -> bands -> raster -> picture
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.colour import icc
from imaging.decode.deadline import Deadline
from imaging.decode.orientation import TRANSPOSITIONS
from imaging.decode.tiff.bands import Bands, choose_bands, comparison_bytes
from imaging.decode.tiff.directory import TiffDirectory
from imaging.decode.tiff.layout import SampleLayout, read_layout
from imaging.decode.tiff.no_data import read_no_data, valid_pixels
from imaging.decode.tiff.picture import make_picture
from imaging.decode.tiff.raster import GROUP_BYTES, read_raster

ORIENTATION: Final = 274
ICC_PROFILE: Final = 34675

# A pixel as RGBA, laid over white, and as RGB, each of which Pillow keeps in 4 bytes.
PICTURE_BYTES: Final = 12
LEVELS_BYTES: Final = 4  # of it, before they are an image: RGB and alpha

# Orientations that exchange width and height.
QUARTER_TURNS: Final = (
    *(Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE),
    *(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
)


@dataclass(frozen=True)
class SampledTiff:
    """A file whose header is read so far; whoever reads its pixels limits its size first."""

    directory: TiffDirectory
    layout: SampleLayout
    bands: Bands
    turn: Image.Transpose | None
    deadline: Deadline

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px, upright."""
        width, height = self.layout.width, self.layout.height
        return (height, width) if self.turn in QUARTER_TURNS else (width, height)

    @property
    def num_bytes(self) -> int:
        """What reading takes at most: the numbers, and pieces on their way or then the picture."""
        layout, pixels = self.layout, self.layout.width * self.layout.height
        width = len(self.bands.channels) * layout.dtype.itemsize
        picture = PICTURE_BYTES * pixels
        if self.bands.alpha is not None:
            compared = comparison_bytes(layout.width, layout.height)
            picture = max(picture, LEVELS_BYTES * pixels + compared)
        return width * pixels + max(self._group_bytes, picture)

    @property
    def _group_bytes(self) -> int:
        """Of pieces that are unpacked together: the bytes twice, or once beside their numbers."""
        layout, channels = self.layout, self.bands.channels
        piece = layout.row_bytes * layout.piece_height
        group = min(max(GROUP_BYTES, piece), piece * layout.rows * layout.columns)
        samples = 8 * group // layout.bits
        numbers = 0 if layout.is_native else samples * layout.dtype.itemsize
        are_first = channels == tuple(range(len(channels)))
        if not (layout.in_planes or are_first):  # they are picked into a copy
            numbers += samples // layout.channels * len(channels) * layout.dtype.itemsize
        return group + max(group, numbers)

    def read(self) -> tuple[Image.Image, npt.NDArray[np.bool_] | None]:
        """The picture, in a mode of 8 bits a channel, and its valid pixels (H, W); None: all.

        Raises what read_raster does.
        """
        no_data = read_no_data(self.directory, self.layout.dtype)
        blank = self.layout.dtype.type(0) if no_data is None else no_data
        raster = read_raster(self.directory, self.layout, self.bands.channels, blank, self.deadline)
        colours = raster.values[..., : len(self.bands.colours)]
        valid = valid_pixels(colours, no_data, raster.written)
        image = make_picture(raster.values, valid, self.layout.bits, self.bands, self.directory)
        profile = self.directory.raw_bytes(ICC_PROFILE, icc.MAX_BYTES)
        if profile:
            image.info["icc_profile"] = profile
        if self.turn is None:
            return image, valid
        turned = image.transpose(self.turn)
        return turned, None if valid is None else _turned(valid, self.turn)


def open_sampled(directory: TiffDirectory, max_seconds: float) -> SampledTiff:
    """Raises UnsupportedImage for a kind that is not read, ValueError where it is damaged."""
    deadline = Deadline(max_seconds)
    layout = read_layout(directory)
    bands = choose_bands(directory, layout)
    turn = TRANSPOSITIONS.get(directory.metadata(ORIENTATION))
    return SampledTiff(directory, layout, bands, turn, deadline)


def _turned(valid: npt.NDArray[np.bool_], turn: Image.Transpose) -> npt.NDArray[np.bool_]:
    return np.asarray(Image.fromarray(valid.astype(np.uint8)).transpose(turn)).astype(np.bool_)

"""Which channels of a TIFF are the picture: its colours, and its transparency.

TIFF names its channels by the photometric interpretation, and those beyond it by ExtraSamples. What
writes satellite and aerial images names them carelessly: three colours as grey and two unspecified
ones, or near infrared as transparency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import TiffImagePlugin as tags  # noqa: N813

from imaging.decode.tiff import codes
from imaging.decode.tiff.codes import unsupported
from imaging.decode.tiff.directory import TiffDirectory
from imaging.decode.tiff.layout import SampleLayout

INKSET: Final = 332
INKSET_CMYK: Final = 1
GEO_KEY_DIRECTORY: Final = 34735  # of GeoTIFF

ALPHAS: Final = (codes.PREMULTIPLIED_ALPHA, codes.ALPHA, codes.CORELDRAW_ALPHA)

# Transparency covers or uncovers: most of it is 0 or 1, and what lies between is a soft edge. Near
# infrared is one more picture of the same scene, with edges where the colours have theirs: their
# correlation is 0.98 in the public case, 0.0 for shapes that have nothing to do with the scene.
MAX_BETWEEN: Final = 0.5
MIN_CORRELATION: Final = 0.15
COMPARED_ROWS: Final = 256  # to twice as many
COMPARED_BYTES: Final = 56  # of each pixel in them, most as floats of 64 bits


@dataclass(frozen=True)
class Bands:
    """Indices of the channels that the picture is made of."""

    photometric: int  # WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE or CMYK
    colours: tuple[int, ...]  # one, three, or four of CMYK
    alpha: int | None
    premultiplied: bool = False
    georeferenced: bool = False

    @property
    def channels(self) -> tuple[int, ...]:
        return self.colours if self.alpha is None else (*self.colours, self.alpha)


def choose_bands(directory: TiffDirectory, layout: SampleLayout) -> Bands:
    """The bands as the file declares them: of more than it needs, the first ones.

    Raises UnsupportedImage where there are too few, or inks other than CMYK.
    """
    photometric = _photometric(directory, layout)
    expected = {codes.RGB: 3, codes.CMYK: 4}.get(photometric, 1)
    if layout.channels < expected:
        name = codes.photometric_name(photometric)
        raise unsupported(f"of {name} with {layout.channels} samples")
    if photometric == codes.CMYK and directory.metadata(INKSET) not in (0, INKSET_CMYK):
        raise unsupported("of inks other than CMYK")
    extra = _extra_samples(directory, layout.channels - expected, photometric)
    at = next((index for index, meaning in enumerate(extra) if meaning in ALPHAS), None)
    alpha = None if at is None else expected + at
    premultiplied = at is not None and extra[at] == codes.PREMULTIPLIED_ALPHA
    # Three bands that are called grey are colours: GDAL and rasterio write them so by default.
    is_grey = photometric in (codes.WHITE_IS_ZERO, codes.BLACK_IS_ZERO)
    if is_grey and layout.channels - (alpha is not None) >= 3:
        expected = 3
    colours = tuple(index for index in range(layout.channels) if index != alpha)[:expected]
    georeferenced = directory.entry(GEO_KEY_DIRECTORY) is not None
    return Bands(photometric, colours, alpha, premultiplied, georeferenced)


def is_transparency(
    alpha: npt.NDArray[np.uint8], colours: npt.NDArray[np.uint8], bands: Bands
) -> bool:
    """Whether a channel (H, W) that is called alpha covers the colours (H, W, 3).

    It does not where it is one more picture of the same scene. Of georeferenced images the
    transparency has no soft edges, so that anything else is taken for a picture.
    """
    step = _compared_step(len(alpha))
    some, beside = alpha[::step].astype(np.int16), colours[::step].astype(np.int16)
    if ((some != 0) & (some != 255)).mean() <= MAX_BETWEEN:
        return True
    if bands.premultiplied and (beside <= some[..., None]).all():
        return True  # as premultiplied colours are
    if bands.georeferenced:
        return False
    edges, expected = np.abs(np.diff(some, axis=1)), np.abs(np.diff(beside, axis=1))
    return all(
        _correlation(edges, expected[..., channel]) < MIN_CORRELATION for channel in range(3)
    )


def comparison_bytes(width: int, height: int) -> int:
    """What `is_transparency` takes for an image of that size, in px."""
    return COMPARED_BYTES * width * -(-height // _compared_step(height))


def _compared_step(height: int) -> int:
    return max(1, height // COMPARED_ROWS)


def _correlation(first: npt.NDArray[np.int16], second: npt.NDArray[np.int16]) -> float:
    """Pearson's, -1 to 1; 0 where one of them does not vary."""
    if not (first.size and first.std() and second.std()):
        return 0.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def _photometric(directory: TiffDirectory, layout: SampleLayout) -> int:
    if tags.PHOTOMETRIC_INTERPRETATION in directory.layout:
        stated = directory.number(tags.PHOTOMETRIC_INTERPRETATION, codes.WHITE_IS_ZERO)
        return codes.RGB if stated == codes.YCBCR else stated  # which unpacking makes of it
    # It is required. Pillow takes a single channel for film without it.
    return codes.WHITE_IS_ZERO if layout.channels < 3 else codes.BLACK_IS_ZERO


def _extra_samples(directory: TiffDirectory, count: int, photometric: int) -> list[int]:
    """What the channels beyond the declared colours mean, one value for each of them."""
    entry = directory.layout.get(tags.EXTRASAMPLES)
    if entry is None and photometric == codes.RGB and count == 1:
        return [codes.ALPHA]  # a fourth channel beside RGB, by programs that do not know the tag
    stated = [] if entry is None else directory.values(entry)[:count].tolist()
    return [*stated, *[codes.UNSPECIFIED] * (count - len(stated))]

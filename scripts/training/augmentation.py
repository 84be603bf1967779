"""How much a training sample may differ from the photo it is cut from, as ranges.

The ranges of light are wide on purpose: another drive, hour or camera differ more than the frames
of one drive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Range = tuple[float, float]


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw from: scales and stretches uniformly in their logarithm, all else uniformly.

    The defaults change nothing.
    """

    scale: Range  # px of the crop per px of a frame at the preset's short side
    stretch: float = 1.0  # largest ratio of the scales of the two axes
    rotation: float = 0.0  # degrees, at most, to either side
    shear: float = 0.0  # px sideways per px down, at most, to either side
    channel_gain: Range = (1.0, 1.0)
    channel_mix: float = (
        0.0  # largest share of a channel that is added to or subtracted from another
    )
    brightness: Range = (1.0, 1.0)
    saturation: Range = (1.0, 1.0)
    contrast: Range = (1.0, 1.0)
    gamma: Range = (1.0, 1.0)
    shade: float = 0.0  # largest change of log brightness from the middle to an edge
    glare: float = 0.0  # largest brightness of a spot of light, of white
    blur: float = 0.0  # px, largest standard deviation; half of the crops are blurred
    noise: float = 0.0  # largest standard deviation, of white; half of the crops are noisy
    erased: float = 0.0  # share of the crops with erased rectangles
    pasted: float = 0.0  # share of the crops with objects of rare classes from another crop


# Scales lie around three quarters of the preset's input size: a network does best on objects a
# little larger than those it was trained on (Touvron et al., 2019,
# https://arxiv.org/abs/1906.06423; 0.7 points of mIoU on CamVid's val).
AUGMENTATIONS: Final = {
    "mild": Augmentation(
        scale=(0.375, 1.5),
        channel_gain=(0.85, 1.15),
        brightness=(0.5, 1.5),
        saturation=(0.3, 1.6),
        contrast=(0.6, 1.5),
        gamma=(0.6, 1.7),
    ),
    "strong": Augmentation(
        scale=(0.55, 1.5),
        stretch=1.25,
        rotation=8.0,
        shear=0.1,
        channel_gain=(0.8, 1.2),
        channel_mix=0.08,
        brightness=(0.35, 1.6),
        saturation=(0.0, 1.8),
        contrast=(0.5, 1.6),
        gamma=(0.5, 1.7),
        shade=0.6,
        glare=0.6,
        blur=1.5,
        noise=0.05,
        erased=0.3,
        pasted=0.4,
    ),
}

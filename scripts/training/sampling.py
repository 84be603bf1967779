"""What a training sample is: a frame, a place in it, and how its geometry and light are changed.

A sample is a function of the seed and of its number alone, so that a stopped run goes on as if it
had not been stopped, and is the same on every device. numpy's generators take the tuple (seed,
number) as their seed; torch's take one integer, and torchvision's transforms only torch's global
generator, with one draw for a whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from scripts.training.dataset import VOID

Range = tuple[float, float]
Floats = npt.NDArray[np.float32]

# Share of the crops laid around a pixel of a class drawn evenly from those in the frame: poles and
# signs cover 1 % of a street, and most crops laid at random would miss them.
BALANCED_CROPS: Final = 0.5

MAX_ERASED: Final = 3  # rectangles in a crop
ERASED_SIDE: Final = (0.05, 0.3)  # of a rectangle, over the crop's


@dataclass(frozen=True)
class Augmentation:
    """Ranges that samples are drawn from: evenly, scales evenly in their logarithm.

    The defaults change nothing.
    """

    scale: Range  # px of the crop for one px of a frame read at the preset's short side
    stretch: float = 1.0  # most that a frame is widened or heightened
    rotation: float = 0.0  # degrees, most to either side
    shear: float = 0.0  # px sideways for one px down, most to either side
    channel_gain: Range = (1.0, 1.0)
    channel_mix: float = 0.0  # most of one channel that is added to another or taken from it
    brightness: Range = (1.0, 1.0)
    saturation: Range = (1.0, 1.0)
    contrast: Range = (1.0, 1.0)
    gamma: Range = (1.0, 1.0)
    shade: float = 0.0  # most of the logarithm of brightness between the middle and an edge
    glare: float = 0.0  # most that a spot of light adds, over white
    blur: float = 0.0  # px, largest standard deviation; half of the crops are blurred
    noise: float = 0.0  # largest standard deviation, over white; half of the crops are noisy
    erased: float = 0.0  # share of the crops with erased rectangles
    pasted: float = 0.0  # share of the crops with rare things of another frame


# The ranges of light are wide on purpose: another drive, hour or camera differ more than the frames
# of one drive. Scales lie around three quarters of the preset's input size: a network does best on
# things a little larger than it was trained on (Touvron et al. 2019,
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


@dataclass(frozen=True)
class Sample:
    """Everything random about one crop, as numbers."""

    frame: int
    scale: float  # px of the crop for one px of the frame
    transform: Floats  # (2, 3): place in the crop -> in the frame, as `affine_grid` takes it
    colour: Floats  # (3, 3): RGB -> RGB
    contrast: float
    gamma: float
    shade: Floats  # (2,): slope of log brightness along x and y, from the middle to an edge
    glare: Floats  # (4,): x, y and radius of a spot over half of the crop's sides, and its strength
    blur: float  # px, standard deviation
    noise: float  # standard deviation, over white
    noise_corner: tuple[int, int]  # top left px of the crop's window in the tile of noise
    erased: Floats  # (MAX_ERASED, 4): left, top, right, bottom in -1..1; empty: all 0
    pasted: bool


class Samples(Dataset[Sample]):
    """Sample number -> sample, over frames whose targets are uint8 (H, W).

    Frames come once in an epoch, in an order of its own.
    """

    def __init__(
        self,
        targets: Sequence[npt.NDArray[np.uint8]],
        augmentation: Augmentation,
        size: tuple[int, int],
        short_side: int,
        seed: int,
    ) -> None:
        self.targets = targets
        self.augmentation = augmentation
        self.size = size
        self.short_side = short_side
        self.seed = seed

    @cached_property
    def classes(self) -> list[npt.NDArray[np.int64]]:
        """Class ids in each frame."""
        counts = (np.bincount(target.ravel(), minlength=VOID + 1) for target in self.targets)
        return [np.flatnonzero(count[:VOID]) for count in counts]

    def __getitem__(self, number: int) -> Sample:
        epoch, position = divmod(number, len(self.targets))
        order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.targets))
        frame = int(order[position])
        rng = np.random.default_rng([self.seed, 1, number])
        change, target = self.augmentation, self.targets[frame]

        scale = self.short_side / min(target.shape) * log_uniform(change.scale, rng)
        stretch = log_uniform((change.stretch**-0.5, change.stretch**0.5), rng)
        scales = scale * stretch, scale / stretch
        corner = place_crop(target, self.classes[frame], self.size, scales, rng)
        flip = -1.0 if rng.random() < 0.5 else 1.0
        turn = math.radians(rng.uniform(-change.rotation, change.rotation))
        return Sample(
            frame=frame,
            scale=min(scales),
            transform=crop_transform(
                target.shape,
                self.size,
                scales,
                corner,
                rotation(turn) @ shear(rng.uniform(-change.shear, change.shear)) @ mirror(flip),
            ),
            colour=draw_colour(change, rng),
            contrast=rng.uniform(*change.contrast),
            gamma=rng.uniform(*change.gamma),
            shade=rng.uniform(-change.shade, change.shade, 2).astype(np.float32),
            glare=draw_glare(change, rng),
            blur=sometimes(0.5, rng) * rng.uniform(0, change.blur),
            noise=sometimes(0.5, rng) * rng.uniform(0, change.noise),
            noise_corner=(int(rng.integers(self.size[0])), int(rng.integers(self.size[1]))),
            erased=draw_erased(change, rng),
            pasted=bool(rng.random() < change.pasted),
        )


def log_uniform(bounds: Range, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(*map(math.log, bounds)))


def sometimes(share: float, rng: np.random.Generator) -> float:
    """1 in this share of the cases, else 0."""
    return float(rng.random() < share)


def place_crop(
    target: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.int64],
    size: tuple[int, int],
    scales: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int]:
    """(y, x), px of the frame: the corner of a crop that has `size` px once scaled.

    The crop lies inside the frame, or begins at its corner where the frame is smaller. `classes`
    are the ids in the target (H, W).
    """
    window = [
        min(side, round(goal / scale))
        for side, goal, scale in zip(target.shape, size, scales, strict=True)
    ]
    room = [side - extent for side, extent in zip(target.shape, window, strict=True)]
    if not len(classes) or rng.random() >= BALANCED_CROPS:
        return int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1))
    places = np.flatnonzero(target == rng.choice(classes))
    place = divmod(int(rng.choice(places)), target.shape[1])
    y, x = (
        int(np.clip(at - rng.integers(extent), 0, free))
        for at, extent, free in zip(place, window, room, strict=True)
    )
    return y, x


def rotation(angle: float) -> Floats:
    """(2, 2), on (x, y); the angle in radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array(((cos, -sin), (sin, cos)), np.float32)


def shear(slope: float) -> Floats:
    return np.array(((1, slope), (0, 1)), np.float32)


def mirror(sign: float) -> Floats:
    """Left to right with a sign of -1."""
    return np.diag((sign, 1.0)).astype(np.float32)


def crop_transform(
    frame: tuple[int, ...],
    size: tuple[int, int],
    scales: tuple[float, float],
    corner: tuple[int, int],
    turn: Floats,
) -> Floats:
    """(2, 3): positions in the crop, -1..1 from edge to edge, -> in the frame, likewise.

    `size` is the crop's, px; `scales` its px for one px of the frame along y and x; `corner` (y, x)
    px of the frame. The crop is turned around its middle by `turn`, on (x, y) in px.
    """
    frame_xy, size_xy = np.array(frame[::-1]), np.array(size[::-1])
    window_xy = size_xy / np.array(scales[::-1])
    middle = np.array(corner[::-1]) + window_xy / 2
    linear = np.diag(1 / frame_xy) @ turn @ np.diag(window_xy)
    return np.column_stack((linear, 2 * middle / frame_xy - 1)).astype(np.float32)


def draw_colour(change: Augmentation, rng: np.random.Generator) -> Floats:
    """Gains of the channels, then some of each in the others, then saturation around their mean."""
    gains = np.diag(rng.uniform(*change.channel_gain, 3)) * rng.uniform(*change.brightness)
    mix = rng.uniform(-change.channel_mix, change.channel_mix, (3, 3))
    np.fill_diagonal(mix, 1.0)
    saturation = rng.uniform(*change.saturation)
    saturate = saturation * np.eye(3) + (1 - saturation) / 3
    colour: Floats = (saturate @ mix @ gains).astype(np.float32)
    return colour


def draw_glare(change: Augmentation, rng: np.random.Generator) -> Floats:
    x, y = rng.uniform(-1.2, 1.2, 2)
    radius = rng.uniform(0.1, 0.8)
    strength = sometimes(0.2, rng) * rng.uniform(0, change.glare)
    return np.array((x, y, radius, strength), np.float32)


def draw_erased(change: Augmentation, rng: np.random.Generator) -> Floats:
    """Rectangles of a crop in which nothing can be seen."""
    sides = rng.uniform(*ERASED_SIDE, (MAX_ERASED, 2))
    middles = rng.uniform(-1, 1, (MAX_ERASED, 2))
    kept = np.arange(MAX_ERASED) < rng.integers(1, MAX_ERASED + 1) * sometimes(change.erased, rng)
    corners = np.concatenate((middles - sides, middles + sides), axis=1)
    return (corners * kept[:, None]).astype(np.float32)

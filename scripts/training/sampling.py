"""Draws training samples: a frame, a place in it, and the changes of its geometry and light.

A sample is a function of the seed and of its own number alone: it is the same in a resumed run and
on every device. NumPy's generators take the pair of them as a seed. torchvision's transforms would
not do: they draw from torch's global generator, once for a whole batch.
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

from scripts.training.augmentation import Augmentation, Range
from scripts.training.dataset import VOID

Floats = npt.NDArray[np.float32]

# Share of the crops placed around a pixel of a class drawn uniformly from those in the frame: poles
# and signs cover 1 % of a street, and most crops placed at random would miss them.
BALANCED_CROPS: Final = 0.5

MAX_ERASED: Final = 3  # rectangles in a crop
ERASED_SIDE: Final = (0.05, 0.3)  # of a rectangle, as a share of the crop's
GLARE_SHARE: Final = 0.2  # of the crops have a spot of light


@dataclass(frozen=True)
class Sample:
    """Everything random about one crop, as numbers.

    Positions in the crop or the frame are (x, y), -1 and 1 being the edges.
    """

    frame: int  # index
    scale: float  # px of the crop per px of the frame, of the axis that has fewer
    transform: Floats  # (2, 3): position in the crop -> in the frame, as `affine_grid` takes it
    colour: Floats  # (3, 3): RGB -> RGB
    contrast: float
    gamma: float
    shade: Floats  # (2,): slope of log brightness along x and y
    glare: Floats  # (4,): x, y and radius of a spot of light, and its strength
    blur: float  # px, standard deviation
    noise: float  # standard deviation, of white
    noise_corner: tuple[int, int]  # (y, x), px: where the crop's noise begins in the noise tile
    erased: Floats  # (MAX_ERASED, 4): left, top, right, bottom; an empty rectangle is all 0
    pasted: bool


class Samples(Dataset[Sample]):
    """Sample number -> sample, over frames whose targets are uint8 (H, W).

    Each epoch shows every frame once, in an order of its own. `size` (h, w) is the crops', px;
    `short_side` the preset's, px.
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
        """Class ids that occur in each frame."""
        counts = (np.bincount(target.ravel(), minlength=VOID + 1) for target in self.targets)
        return [np.flatnonzero(count[:VOID]) for count in counts]

    def __getitem__(self, number: int) -> Sample:
        epoch, position = divmod(number, len(self.targets))
        order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.targets))
        frame = int(order[position])
        rng = np.random.default_rng([self.seed, 1, number])
        ranges, target = self.augmentation, self.targets[frame]

        scale = self.short_side / min(target.shape) * log_uniform(ranges.scale, rng)
        stretch = log_uniform((ranges.stretch**-0.5, ranges.stretch**0.5), rng)
        scales = scale * stretch, scale / stretch
        corner = place_crop(target, self.classes[frame], self.size, scales, rng)
        transform = crop_transform(
            target.shape, self.size, scales, corner, draw_distortion(ranges, rng)
        )
        return Sample(
            frame=frame,
            scale=min(scales),
            transform=transform,
            colour=draw_colour(ranges, rng),
            contrast=rng.uniform(*ranges.contrast),
            gamma=rng.uniform(*ranges.gamma),
            shade=rng.uniform(-ranges.shade, ranges.shade, 2).astype(np.float32),
            glare=draw_glare(ranges, rng),
            blur=occurs(0.5, rng) * rng.uniform(0, ranges.blur),
            noise=occurs(0.5, rng) * rng.uniform(0, ranges.noise),
            noise_corner=(int(rng.integers(self.size[0])), int(rng.integers(self.size[1]))),
            erased=draw_erased(ranges, rng),
            pasted=occurs(ranges.pasted, rng),
        )


def log_uniform(bounds: Range, rng: np.random.Generator) -> float:
    low, high = bounds
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def occurs(probability: float, rng: np.random.Generator) -> bool:
    return bool(rng.random() < probability)


def place_crop(
    target: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.int64],
    size: tuple[int, int],
    scales: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Draw the top left corner (y, x), px of the frame, of a crop that has `size` px once scaled.

    The crop lies inside the frame, or begins at its corner where the frame is smaller. `classes`
    are the ids that occur in the target (H, W).
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


def draw_distortion(ranges: Augmentation, rng: np.random.Generator) -> Floats:
    """A mirror image, then a shear, then a rotation: (2, 2), on (x, y)."""
    flip = np.diag((-1.0 if occurs(0.5, rng) else 1.0, 1.0))
    angle = math.radians(rng.uniform(-ranges.rotation, ranges.rotation))
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = np.array(((cos, -sin), (sin, cos)))
    shear = np.array(((1.0, rng.uniform(-ranges.shear, ranges.shear)), (0.0, 1.0)))
    distortion: Floats = (rotation @ shear @ flip).astype(np.float32)
    return distortion


def crop_transform(
    frame: tuple[int, ...],
    size: tuple[int, int],
    scales: tuple[float, float],
    corner: tuple[int, int],
    distortion: Floats,
) -> Floats:
    """(2, 3): position (x, y) in the crop -> in the frame, -1 and 1 being the edges of each.

    `frame` (H, W) and `size` (h, w) are px; `scales` px of the crop per px of the frame along y and
    x; `corner` (y, x) px of the frame; `distortion` (2, 2) is applied around the crop's middle.
    """
    frame_xy, size_xy = np.array(frame[::-1]), np.array(size[::-1])
    window_xy = size_xy / np.array(scales[::-1])
    middle = np.array(corner[::-1]) + window_xy / 2
    linear = np.diag(1 / frame_xy) @ distortion @ np.diag(window_xy)
    transform: Floats = np.column_stack((linear, 2 * middle / frame_xy - 1)).astype(np.float32)
    return transform


def draw_colour(ranges: Augmentation, rng: np.random.Generator) -> Floats:
    """(3, 3), RGB -> RGB: gains, then a mix of the channels, then saturation around their mean."""
    gains = np.diag(rng.uniform(*ranges.channel_gain, 3)) * rng.uniform(*ranges.brightness)
    mix = rng.uniform(-ranges.channel_mix, ranges.channel_mix, (3, 3))
    np.fill_diagonal(mix, 1.0)
    saturation = rng.uniform(*ranges.saturation)
    saturate = saturation * np.eye(3) + (1 - saturation) / 3
    colour: Floats = (saturate @ mix @ gains).astype(np.float32)
    return colour


def draw_glare(ranges: Augmentation, rng: np.random.Generator) -> Floats:
    """(4,): x, y and radius of a spot of light, a little beyond the crop at most; its strength."""
    x, y = rng.uniform(-1.2, 1.2, 2)
    radius = rng.uniform(0.1, 0.8)
    strength = occurs(GLARE_SHARE, rng) * rng.uniform(0, ranges.glare)
    return np.array((x, y, radius, strength), np.float32)


def draw_erased(ranges: Augmentation, rng: np.random.Generator) -> Floats:
    """(MAX_ERASED, 4): left, top, right and bottom of rectangles; all 0 for those not drawn."""
    sides = rng.uniform(*ERASED_SIDE, (MAX_ERASED, 2))
    middles = rng.uniform(-1, 1, (MAX_ERASED, 2))
    num_erased = rng.integers(1, MAX_ERASED + 1) * occurs(ranges.erased, rng)
    is_erased = np.arange(MAX_ERASED) < num_erased
    # The crop is 2 wide: half of a side that is a share s of it is s.
    corners = np.concatenate((middles - sides, middles + sides), axis=1)
    boxes: Floats = (corners * is_erased[:, None]).astype(np.float32)
    return boxes

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import affine_grid

from model.preset import load_preset
from scripts.training.augmentation import Cropper, cut
from scripts.training.dataset import VOID, LabelledImage, find_frames, read_frames
from scripts.training.sampling import AUGMENTATIONS, Samples, crop_transform, place_crop
from tests.scripts.training.labelled import write_data, write_preset

UPRIGHT = np.eye(2, dtype=np.float32)
BLACK = torch.zeros(3, 1, 1)


def place_and_cut(
    frame: LabelledImage, size: tuple[int, int], scale: float, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A crop that is neither turned nor mirrored: fp32 (3, h, w) in 0..1 and int64 (h, w)."""
    target = frame.target.numpy()
    classes = np.unique(target[target != VOID]).astype(np.int64)
    corner = place_crop(target, classes, size, (scale, scale), np.random.default_rng(seed))
    transform = crop_transform(target.shape, size, (scale, scale), corner, UPRIGHT)
    grid = affine_grid(torch.from_numpy(transform)[None], [1, 3, *size], align_corners=False)
    image, labels = cut(frame, grid, scale, BLACK)
    return image[0], labels[0]


def test_a_sample_depends_on_its_number_and_the_seed_alone(tmp_path: Path) -> None:
    preset = load_preset(write_preset(tmp_path / "drawn.yaml"))
    frames = list(read_frames(find_frames(write_data(tmp_path) / "train"), preset.num_classes))
    size = (40, 160)  # wider than some scaled frames
    targets = [frame.target.numpy() for frame in frames]
    samples, again, other = (
        Samples(targets, AUGMENTATIONS["mild"], size, preset.short_side, seed) for seed in (0, 0, 1)
    )
    crops = Cropper(frames, preset, size, rare=())
    seen: set[int] = set()
    for number in (5, 0, 12):
        (image,), (target,) = crops([samples[number]])
        assert image.shape == (3, *size)
        assert target.shape == size
        seen |= set(target.unique().tolist())
        (image_again,), (target_again,) = crops([again[number]])
        assert torch.equal(image, image_again)
        assert torch.equal(target, target_again)
        assert not torch.equal(image, crops([other[number]])[0][0])
    assert seen == {0, 1, 2, VOID}


@given(
    frame=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    size=st.tuples(st.integers(8, 50), st.integers(8, 50)),
    scale=st.floats(0.3, 3),
    seed=st.integers(0, 2**32),
)
def test_a_crop_takes_photo_and_target_from_the_same_place(
    frame: tuple[int, int], size: tuple[int, int], scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    target = torch.from_numpy(rng.integers(0, 4, frame, dtype=np.uint8))
    labelled = LabelledImage(target.expand(3, -1, -1).clone(), target)
    image, labels = place_and_cut(labelled, size, scale, seed)
    assert image.shape[1:] == labels.shape == size
    # Unscaled, they are still the same pixels.
    image, labels = place_and_cut(labelled, size, 1.0, seed)
    inside = labels != VOID
    assert inside.sum() == min(frame[0], size[0]) * min(frame[1], size[1])
    assert torch.equal((255 * image[0]).round().long()[inside], labels[inside])


def test_balanced_crops_find_a_single_pixel() -> None:
    target = torch.zeros(200, 200, dtype=torch.uint8)
    target[17, 160] = 1
    frame = LabelledImage(torch.zeros(3, 200, 200, dtype=torch.uint8), target)
    found = [bool(place_and_cut(frame, (20, 20), 1.0, seed)[1].any()) for seed in range(200)]
    # A quarter: half of the crops are balanced, between two classes. At random it is one in 100.
    assert 25 <= sum(found) <= 80

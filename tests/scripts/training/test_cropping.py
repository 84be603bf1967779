from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import affine_grid, max_pool2d, pad

from model.preset import Preset, load_preset
from scripts.training.augmentation import AUGMENTATIONS, Augmentation
from scripts.training.cropping import Cropper, blur, cut
from scripts.training.dataset import VOID, LabelledImage
from scripts.training.sampling import Samples, crop_transform, place_crop
from tests.scripts.training.labelled import COLOURS, LABELS, draw, write_preset

SIZE = (40, 120)  # px; wider than some scaled frames
BOX = 2  # the rare class
STRONG = AUGMENTATIONS["strong"]
GEOMETRY = Augmentation(  # strong, in the photo's own light
    scale=STRONG.scale,
    stretch=STRONG.stretch,
    rotation=STRONG.rotation,
    shear=STRONG.shear,
    erased=STRONG.erased,
    pasted=STRONG.pasted,
)


@pytest.fixture
def preset(tmp_path: Path) -> Preset:
    return load_preset(write_preset(tmp_path / "drawn.yaml"))


def flat_frames(count: int) -> list[LabelledImage]:
    """Frames whose pixels have the colour of their class, and no noise."""
    frames = []
    for seed in range(count):
        _, mask = draw(seed)
        colours = np.vstack((COLOURS, np.zeros(3, np.uint8)))  # of void: black
        target = torch.from_numpy(np.where(mask == len(LABELS), VOID, mask).astype(np.uint8))
        frames.append(LabelledImage(torch.from_numpy(colours[mask]).permute(2, 0, 1), target))
    return frames


def crop(
    preset: Preset, augmentation: Augmentation, numbers: Sequence[int], seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of the samples of these numbers: fp32 RGB (B, 3, h, w) in 0..1, int64 (B, h, w)."""
    frames = flat_frames(6)
    samples = Samples(
        [frame.target.numpy() for frame in frames], augmentation, SIZE, preset.short_side, seed
    )
    image, target = Cropper(frames, preset, SIZE, rare=[BOX])([samples[n] for n in numbers])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))
    return image * std + mean, target


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_crops_depend_on_the_seed_and_their_samples_numbers_alone(
    preset: Preset, name: str
) -> None:
    numbers = [5, 0, 12]
    image, target = crop(preset, AUGMENTATIONS[name], numbers)
    assert image.shape == (3, 3, *SIZE)
    assert target.shape == (3, *SIZE)
    image_again, target_again = crop(preset, AUGMENTATIONS[name], numbers)
    assert torch.equal(image, image_again)
    assert torch.equal(target, target_again)
    other_image, other_target = crop(preset, AUGMENTATIONS[name], numbers, seed=1)
    assert not torch.equal(image, other_image)
    assert not torch.equal(target, other_target)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_targets_hold_the_classes_and_void(preset: Preset, name: str) -> None:
    image, target = crop(preset, AUGMENTATIONS[name], range(24))
    assert set(target.unique().tolist()) == {0, 1, 2, VOID}
    assert image.isfinite().all()


def test_strong_augmentation_moves_photo_and_target_together(preset: Preset) -> None:
    # Without pasting: where a box is pasted over a box, an outline has no border in the target.
    image, target = crop(preset, replace(GEOMETRY, pasted=0.0), range(48))
    colours = torch.from_numpy(COLOURS).float() / 255
    compared = 0
    for label in range(len(LABELS)):
        # Resampling mixes colours up to 4 px from another class, which may be beyond the crop.
        other = pad((target != label).float()[:, None], [4] * 4, value=1)
        inside = max_pool2d(other, 9, stride=1)[:, 0] == 0
        pixels = image.movedim(1, -1)[inside]
        torch.testing.assert_close(pixels, colours[label].expand_as(pixels), rtol=0, atol=0.01)
        compared += len(pixels)
    assert compared > 0.3 * target.numel()


def test_changes_of_light_leave_targets_as_they_are(preset: Preset) -> None:
    numbers = range(16)
    plain, target = crop(preset, GEOMETRY, numbers)
    image, target_in_other_light = crop(preset, STRONG, numbers)
    assert torch.equal(target, target_in_other_light)
    assert all((one - other).abs().mean() > 0.01 for one, other in zip(plain, image, strict=True))


def test_erased_rectangles_have_the_mean_colour_and_are_void(preset: Preset) -> None:
    numbers = range(16)
    plain, target = crop(preset, replace(GEOMETRY, erased=0.0, pasted=0.0), numbers)
    image, erased_target = crop(preset, replace(GEOMETRY, erased=1.0, pasted=0.0), numbers)
    changed = (image != plain).any(1)
    # In nearly every crop: some rectangles lie beyond the frame, where all is void already.
    assert changed.flatten(1).any(1).sum() >= 12
    assert (erased_target[changed] == VOID).all()
    mean = torch.tensor(preset.mean).expand(int(changed.sum()), 3)
    torch.testing.assert_close(image.movedim(1, -1)[changed], mean)
    assert torch.equal(erased_target[erased_target != VOID], target[erased_target != VOID])


def test_only_rare_classes_are_pasted_with_their_pixels(preset: Preset) -> None:
    numbers = range(16)
    plain, target = crop(preset, replace(GEOMETRY, erased=0.0, pasted=0.0), numbers)
    image, pasted_target = crop(preset, replace(GEOMETRY, erased=0.0, pasted=1.0), numbers)
    donated = target.roll(1, 0) == BOX
    assert donated.any()
    assert (pasted_target[donated] == BOX).all()
    assert torch.equal(pasted_target[~donated], target[~donated])
    everywhere = donated[:, None].expand_as(image)
    torch.testing.assert_close(image, torch.where(everywhere, plain.roll(1, 0), plain))


def test_each_image_is_blurred_by_its_own_deviation() -> None:
    point = torch.zeros(2, 3, 21, 21)
    point[:, :, 10, 10] = 1
    sharp, blurred = blur(point, torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(sharp, point[0])
    x = torch.arange(-4.0, 5)
    gauss = torch.exp(-0.5 * (x**2 + x[:, None] ** 2))
    torch.testing.assert_close(
        blurred[:, 6:15, 6:15], (gauss / gauss.sum()).expand(3, 9, 9), rtol=0, atol=1e-6
    )


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
    assert image.shape[1:] == labels.shape == torch.Size(size)
    # Unscaled, they are still the same pixels.
    image, labels = place_and_cut(labelled, size, 1.0, seed)
    inside = labels != VOID
    assert inside.sum() == min(frame[0], size[0]) * min(frame[1], size[1])
    assert torch.equal((255 * image[0]).round().long()[inside], labels[inside])


def place_and_cut(
    frame: LabelledImage, size: tuple[int, int], scale: float, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A crop that is neither distorted nor mirrored: fp32 (3, h, w) in 0..1 and int64 (h, w)."""
    target = frame.target.numpy()
    classes = np.unique(target[target != VOID]).astype(np.int64)
    scales, upright = (scale, scale), np.eye(2, dtype=np.float32)
    corner = place_crop(target, classes, size, scales, np.random.default_rng(seed))
    transform = crop_transform(target.shape, size, scales, corner, upright)
    grid = affine_grid(torch.from_numpy(transform)[None], [1, 3, *size], align_corners=False)
    image, labels = cut(frame, grid, scale, torch.zeros(3, 1, 1))
    return image[0], labels[0]

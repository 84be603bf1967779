from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from scripts.training.augmentation import AUGMENTATIONS, Augmentation
from scripts.training.dataset import VOID
from scripts.training.sampling import Sample, Samples, place_crop
from tests.scripts.training.labelled import draw

SIZE = (40, 56)


def samples_of(augmentation: Augmentation, seed: int = 0) -> Samples:
    targets = [draw(number)[1] for number in range(6)]
    return Samples(targets, augmentation, SIZE, short_side=64, seed=seed)


def is_same(one: Sample, other: Sample) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in fields(Sample)
    )


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_a_sample_depends_on_the_seed_and_its_number_alone(name: str) -> None:
    samples, again, other = (samples_of(AUGMENTATIONS[name], seed) for seed in (0, 0, 1))
    expected = {number: samples[number] for number in range(8)}
    for number in (5, 0, 7, 5):  # in any order
        assert is_same(again[number], expected[number])
        assert not is_same(other[number], expected[number])
        assert not is_same(again[number + 1], expected[number])


def test_each_epoch_shows_every_frame_once_in_another_order() -> None:
    samples = samples_of(AUGMENTATIONS["mild"])
    epochs = [[samples[6 * epoch + position].frame for position in range(6)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_an_augmentation_without_ranges_changes_nothing_but_the_side() -> None:
    samples = samples_of(Augmentation(scale=(1.0, 1.0)))
    for sample in map(samples.__getitem__, range(20)):
        assert sample.scale == 1
        np.testing.assert_allclose(sample.colour, np.eye(3), atol=1e-6)
        assert (sample.contrast, sample.gamma, sample.blur, sample.noise) == (1, 1, 0, 0)
        assert not sample.shade.any()
        assert sample.glare[3] == 0
        assert not sample.erased.any()
        assert not sample.pasted
        # The crop's share of the frame, upright or mirrored.
        np.testing.assert_allclose(
            np.abs(sample.transform[:, :2]), np.diag((56 / 96, 40 / 64)), atol=1e-6
        )


def test_balanced_crops_find_a_single_pixel() -> None:
    target = np.zeros((200, 200), np.uint8)
    target[17, 160] = 1
    found = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y, x = place_crop(target, np.array((0, 1)), (20, 20), (1.0, 1.0), rng)
        found += bool(target[y : y + 20, x : x + 20].any())
    # A quarter: half of the crops are balanced, between two classes. At random it is one in 100.
    assert 25 <= found <= 80


def test_a_frame_of_only_void_has_crops() -> None:
    samples = Samples(
        [np.full((64, 96), VOID, np.uint8)], AUGMENTATIONS["strong"], SIZE, short_side=64, seed=0
    )
    assert samples[3].frame == 0

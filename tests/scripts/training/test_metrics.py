from __future__ import annotations

import numpy as np
import pytest
import torch

from scripts.training.dataset import VOID
from scripts.training.metrics import (
    COVERAGE,
    RESAMPLES,
    class_iou,
    confusion_matrix,
    mean_iou_interval,
    scores_of,
)

LABELS = ("sky", "ground", "box")


def random_confusions(num_frames: int, seed: int = 0) -> torch.Tensor:
    """Frames of three classes whose accuracy differs from frame to frame."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 400, (num_frames, 3, 3), generator=generator)
    return noise + 1000 * torch.eye(3, dtype=torch.int64)


def test_a_confusion_matrix_counts_targets_in_rows_and_ignores_void() -> None:
    mask = torch.tensor([[0, 0, 1, 2], [1, 1, 2, 0]])
    target = torch.tensor([[0, 1, 1, 2], [1, 0, VOID, VOID]])
    expected = torch.tensor([[1, 1, 0], [1, 2, 0], [0, 0, 1]])
    assert torch.equal(confusion_matrix(mask, target, 3), expected)


def test_iou_by_hand() -> None:
    # Class 0: 6 of 6 + 2 + 1; class 1: 3 of 3 + 1 + 2; class 2 occurs nowhere.
    confusion = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    iou = class_iou(confusion)
    torch.testing.assert_close(iou[:2], torch.tensor([6 / 9, 3 / 6], dtype=torch.float64))
    assert iou[2].isnan()


def test_scores_sum_pixels_over_frames_before_they_divide() -> None:
    confusions = torch.tensor(
        [[[8, 0, 0], [0, 0, 0], [0, 0, 0]], [[1, 1, 0], [0, 6, 0], [0, 0, 0]]]
    )
    scores = scores_of(confusions, LABELS)
    assert scores.iou == {"sky": pytest.approx(9 / 10), "ground": pytest.approx(6 / 7), "box": None}
    assert scores.mean_iou == pytest.approx((9 / 10 + 6 / 7) / 2)
    assert scores.pixel_accuracy == pytest.approx(15 / 16)
    assert scores.num_frames == 2


def test_an_interval_is_that_of_frames_drawn_with_replacement() -> None:
    confusions = random_confusions(6)
    rng = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(6, size=6)
        means.append(class_iou(confusions[drawn].sum(0)).nanmean().item())
    expected = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    # Both are random, each by some per cent of the interval's width.
    width = expected[1] - expected[0]
    assert mean_iou_interval(confusions) == pytest.approx(expected, abs=0.1 * width)


def test_an_interval_surrounds_the_mean_iou_and_is_the_same_every_time() -> None:
    confusions = random_confusions(20)
    low, high = mean_iou_interval(confusions)
    assert low < scores_of(confusions, LABELS).mean_iou < high
    assert mean_iou_interval(confusions) == (low, high)


def test_frames_that_are_all_the_same_leave_no_doubt() -> None:
    confusions = random_confusions(1).expand(7, -1, -1)
    mean = scores_of(confusions, LABELS).mean_iou
    assert mean_iou_interval(confusions) == pytest.approx((mean, mean))


def test_four_times_as_many_frames_halve_an_interval() -> None:
    few, many = (mean_iou_interval(random_confusions(count)) for count in (25, 100))
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(2, rel=0.3)


def test_an_interval_leaves_out_a_class_where_no_drawn_frame_has_it() -> None:
    confusions = torch.zeros(5, 3, 3, dtype=torch.int64)
    confusions[:, 0, 0] = confusions[:, 1, 1] = 100
    confusions[0, 2, 2] = 100  # the only frame with a box
    assert mean_iou_interval(confusions) == (1, 1)

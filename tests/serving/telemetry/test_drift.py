from __future__ import annotations

import pytest
import torch

from serving.telemetry.drift import LOW_CONFIDENCE, Drift, Shares


def test_shares_are_those_of_the_logits_and_their_mean_over_photos() -> None:
    drift = Drift()
    sure, unsure = torch.zeros(1, 4, 2, 3), torch.zeros(1, 4, 2, 3)
    sure[0, 1] = 10
    unsure[0, 2] = 0.1  # the winner has little more than a quarter
    assert unsure.softmax(1).max() < LOW_CONFIDENCE
    drift.add(sure)
    drift.add(unsure)
    assert drift.take() == Shares([0, 0.5, 0.5, 0], 0.5)
    with pytest.raises(ValueError, match="no photo"):
        drift.take()

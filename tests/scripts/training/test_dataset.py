from __future__ import annotations

from pathlib import Path

import pytest

from scripts.training.dataset import DataError, find_frames, leave_out
from tests.scripts.training.labelled import write_split


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three frames of `day_1`, two of `night`."""
    write_split(tmp_path, 3, sequence="day_1")
    return write_split(tmp_path, 2, sequence="night")


def test_a_sequence_is_left_out_whole(data: Path) -> None:
    kept, left_out = leave_out(find_frames(data), "night")
    assert [frame.image.name for frame in kept] == ["day_1_0.png", "day_1_1.png", "day_1_2.png"]
    assert [frame.image.name for frame in left_out] == ["night_0.png", "night_1.png"]


def test_an_unknown_sequence_is_refused_with_those_there_are(data: Path) -> None:
    with pytest.raises(DataError, match=r"cannot leave out 'day' of the sequences day_1, night"):
        leave_out(find_frames(data), "day")


def test_the_only_sequence_cannot_be_left_out(tmp_path: Path) -> None:
    frames = find_frames(write_split(tmp_path, 2, sequence="day"))
    with pytest.raises(DataError, match=r"cannot leave out 'day'"):
        leave_out(frames, "day")

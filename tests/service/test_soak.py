"""The soak: right answers pass, wrong ones are noticed, memory that grows is told from noise."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.stress.expected_responses import FORMATS, Question, about, drawn_photos, questions
from scripts.stress.process_monitor import Sample
from scripts.stress.soak import Reply, Result, growth, report, result_of, soak, write
from tests.photos import encoded, photo
from tests.service.conftest import RunningModel

PHOTOS = [
    encoded(photo(60 + seed, 90, seed), image_format) for seed, image_format in enumerate(FORMATS)
]
MIB = 2**20


@pytest.fixture(scope="module")
def asked(model: RunningModel) -> list[Question]:
    return questions(PHOTOS, model.mask_in_process)


def samples_of(sizes: list[int], pid: int = 1) -> list[Sample]:
    """A sample a second; `sizes` in MiB."""
    return [
        Sample(float(at), (pid,), size * MIB, 9, 200 * MIB, 40) for at, size in enumerate(sizes)
    ]


def result(sizes: list[int], faults: tuple[str, ...] = ()) -> Result:
    replies = [Reply("mask", 1.0 + at, 0.5, fault) for at, fault in enumerate(("", "", *faults))]
    return result_of(replies, samples_of(sizes), {"model": "tiny"}, photos=6, clients=4)


def test_a_service_that_is_right(
    model: RunningModel, asked: list[Question], tmp_path: Path
) -> None:
    replies, samples, finished = soak(model.service, asked, seconds=2, clients=4)
    assert finished
    assert [reply.fault for reply in replies if reply.fault] == []
    assert replies
    assert samples[0].worker_bytes > 50 * MIB
    assert samples[0].java_bytes > 50 * MIB
    assert len(samples[0].workers) == 1

    found = result_of(replies, samples, {"model": "tiny"}, len(PHOTOS), clients=4)
    assert found.broken_bars() == []
    assert found.worker_growth is None  # too short
    text = write(found, tmp_path).read_text()
    assert "| wrong answers | 0 |" in text
    with Image.open(tmp_path / "soak.png") as picture:
        assert picture.size == (800, 500)


def test_every_question_has_its_right_answer(model: RunningModel, asked: list[Question]) -> None:
    kinds = {question.kind: question for question in asked}
    assert {"mask", "npy", "json", "overlay", "confidence", "image_truncated"} < kinds.keys()
    replies, _, _ = soak(model.service, list(kinds.values()), seconds=0.5, clients=len(kinds))
    assert {reply.kind for reply in replies} == kinds.keys()
    assert [reply.fault for reply in replies if reply.fault] == []


def test_another_photos_answer_is_noticed(model: RunningModel) -> None:
    """Of the same size, so that only its content tells."""
    mask = model.mask_in_process(PHOTOS[0])
    other = np.roll(mask, mask.shape[1] // 3, axis=1)
    other[: len(other) // 2] = (other[: len(other) // 2] + 1) % 5
    asked = [
        question for question in about(PHOTOS[0], other) if question.kind in ("mask", "npy", "json")
    ]
    replies, _, _ = soak(model.service, asked, seconds=0.2, clients=3)
    assert len(replies) >= 3
    assert all(reply.fault == f"wrong: {reply.kind}: 200 OK" for reply in replies)


def test_what_breaks_a_bar() -> None:
    steady = [700] * 400
    assert result(steady).broken_bars() == []
    assert result(steady, ("wrong: mask: 200 OK",)).broken_bars() == ["1 wrong answers"]
    assert result(steady, ("error: mask: 503",)).broken_bars() == ["1 errors"]
    growing = result([700] * 420 + [800] * 400)
    assert growing.broken_bars() == ["the worker grew by 14.3%; less than 2% is the bar"]
    assert "the worker grew by 14.3%" in report(growing)

    died = [*samples_of([700] * 200), *samples_of([700] * 200, pid=2)]
    replies = [Reply("mask", 1.0, 0.5, "")] * 2
    assert result_of(replies, died, {}, 6, 4).broken_bars() == ["1 workers died"]


def test_growth_by_hand() -> None:
    def of(sizes: list[int]) -> float | None:
        return growth([(float(at), size) for at, size in enumerate(sizes)])

    assert of([100] * 700) is None
    assert of([1] * 120 + [100] * 700) == 0  # what comes before is warming up
    assert of([100] * 500 + [110] * 400) == pytest.approx(0.1)
    assert of([100] * 500 + [100, 200] * 200) == 0  # a batch takes more, and gives it back
    assert of([100] * 840 + [110] * 60) == 0  # nor is a minute without rest growth


def test_drawn_photos_are_all_different_and_always_the_same() -> None:
    photos = drawn_photos(len(FORMATS))
    assert drawn_photos(len(FORMATS)) == photos
    pictures = [Image.open(io.BytesIO(photo)) for photo in photos]
    assert [picture.format for picture in pictures] == list(FORMATS)
    assert len({picture.size for picture in pictures}) == len(photos)


def test_a_reply_is_json_ready() -> None:
    assert dataclasses.asdict(result([700] * 3))["worker_growth"] is None

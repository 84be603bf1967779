"""A short soak of a real TorchServe: correct responses pass, and wrong ones are noticed."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.stress.soak.expected_responses import (
    CheckedRequest,
    checked_requests,
    requests_for,
)
from scripts.stress.soak.figures import soak_figures
from scripts.stress.soak.load import run_load
from scripts.stress.soak.photos import PHOTO_FORMATS
from tests.photos import encoded, photo
from tests.service.conftest import RunningModel

PHOTOS = [
    encoded(photo(60 + seed, 90, seed), photo_format)
    for seed, photo_format in enumerate(PHOTO_FORMATS)
]
MIB = 2**20


@pytest.fixture(scope="module")
def load(model: RunningModel) -> list[CheckedRequest]:
    return checked_requests(PHOTOS, model.mask_in_process)


def test_a_correct_service_passes(model: RunningModel, load: list[CheckedRequest]) -> None:
    run = run_load(model.service, load, seconds=2, clients=4)
    assert run.finished
    assert [response.fault for response in run.responses if response.fault] == []
    assert run.responses
    assert run.samples[0].worker_bytes > 50 * MIB
    assert run.samples[0].java_bytes > 50 * MIB
    assert len(run.samples[0].workers) == 1

    figures = soak_figures(run, {"model": "tiny"}, len(PHOTOS), clients=4)
    assert figures.failed_criteria() == []
    assert figures.worker_growth is None  # too short


def test_every_category_gets_its_correct_response(
    model: RunningModel, load: list[CheckedRequest]
) -> None:
    by_category = {request.category: request for request in load}
    assert {"mask", "npy", "json", "overlay", "confidence", "image_truncated"} < by_category.keys()
    one_each = list(by_category.values())
    run = run_load(model.service, one_each, seconds=0.5, clients=len(one_each))
    assert {response.category for response in run.responses} == by_category.keys()
    assert [response.fault for response in run.responses if response.fault] == []


def test_another_photos_response_is_noticed(model: RunningModel) -> None:
    """The other mask has the same size, so only its content tells them apart."""
    mask = model.mask_in_process(PHOTOS[0])
    other = np.roll(mask, mask.shape[1] // 3, axis=1)
    other[: len(other) // 2] = (other[: len(other) // 2] + 1) % 5
    load = [
        request
        for request in requests_for(PHOTOS[0], other)
        if request.category in ("mask", "npy", "json")
    ]
    run = run_load(model.service, load, seconds=0.2, clients=3)
    assert len(run.responses) >= 3
    for response in run.responses:
        assert str(response.fault) == f"wrong: {response.category}: 200 OK"

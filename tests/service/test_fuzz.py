"""A fixed share of `make fuzz`: hostile requests to a real TorchServe, whose worker must live."""

from __future__ import annotations

import io
from random import Random

import numpy as np
import pytest
import requests
from PIL import Image

from scripts.fuzz import Report, attack, send, table
from scripts.hostile.requests import MAKERS, hostile_request
from tests.photos import encoded, photo
from tests.service.conftest import RunningModel

INPUTS = 200


@pytest.fixture(scope="module")
def report(model: RunningModel) -> Report:
    return attack(model.service, range(INPUTS), warm_up=INPUTS // 2)


def test_the_worker_lives_and_every_answer_is_a_proper_one(report: Report) -> None:
    assert report.deaths == 0, table(report)
    assert not report.faults, [
        (outcome.input.seed, outcome.input.kind, outcome.fault, outcome.body[:200])
        for outcome in report.faults
    ]
    assert len(report.outcomes) == INPUTS


def test_good_and_bad_were_both_among_them(report: Report) -> None:
    statuses = {outcome.status for outcome in report.outcomes if outcome.ours}
    assert {200, 400, 413, 415} <= statuses
    assert len({outcome.input.kind for outcome in report.outcomes}) > 2 * len(MAKERS)


def test_afterwards_a_photo_has_its_mask(report: Report, model: RunningModel) -> None:
    body = encoded(photo(75, 113), "JPEG")
    answer = requests.post(model.url, data=body, timeout=60)
    mask = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert np.array_equal(mask, model.mask_in_process(body))


@pytest.mark.parametrize("kind", [maker.__name__ for maker in MAKERS])
def test_an_input_is_the_same_whenever_it_is_made(kind: str) -> None:
    (maker,) = (maker for maker in MAKERS if maker.__name__ == kind)
    assert maker(Random(7), 7) == maker(Random(7), 7)
    assert hostile_request(7) == hostile_request(7)


def test_what_the_frontend_cannot_read_is_told_apart(model: RunningModel) -> None:
    """Known of TorchServe 0.12: an image declared as a form fails in Netty, before the handler."""
    seeds = (seed for seed in range(5000) if hostile_request(seed).kind == "urlencoded")
    outcomes = [send(model.service, hostile_request(seed)) for _, seed in zip(range(6), seeds)]
    assert all(outcome.fault is None for outcome in outcomes)
    assert any(outcome.excused for outcome in outcomes)

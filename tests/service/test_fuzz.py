"""A fixed share of `make fuzz`: hostile requests to a real TorchServe, whose worker must live."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest
import requests
from PIL import Image

from scripts.stress.fuzz import Report, attack, send, table
from scripts.stress.hostile_requests import MAKERS, hostile_request
from scripts.stress.process_monitor import sample
from tests.photos import encoded, photo, png_header
from tests.service.conftest import RunningModel

INPUTS = 200


@pytest.fixture(scope="module")
def report(model: RunningModel) -> Report:
    return attack(model.service, range(INPUTS), warm_up=0, rest=0)


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


def test_large_answers_at_once_do_not_end_the_worker(model: RunningModel) -> None:
    """Without a limit TorchServe copies a batch's answers over and over, and kills the worker."""
    before = sample(model.service.group).workers
    side, clients = 4000, 6
    body = encoded(Image.new("L", (side, side)), "PNG")
    deadline = time.monotonic() + 120

    def until_answered(_: int) -> tuple[set[int], bytes]:
        seen = set()
        while time.monotonic() < deadline:
            answer = requests.post(f"{model.url}/1.0/npy", data=body, timeout=60)
            seen.add(answer.status_code)
            if answer.status_code != 503:
                return seen, answer.content
            assert answer.headers["Retry-After"] == "2"
            time.sleep(0.2)
        raise TimeoutError

    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(until_answered, range(clients)))
    assert {status for seen, _ in answers for status in seen} <= {200, 503}
    for _, content in answers:
        assert np.load(io.BytesIO(content)).shape == (side, side)
    assert sample(model.service.group).workers == before


def test_the_small_png_of_60_000_by_60_000_pixels(model: RunningModel) -> None:
    """413, in no time to speak of (the clock is the handler's own), and without memory for it."""
    body = png_header(60_000, 60_000)
    requests.post(model.url, data=body, timeout=60)
    before = sample(model.service.group).worker_bytes
    milliseconds = []
    for _ in range(10):
        answer = requests.post(model.url, data=body, timeout=60)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "image_too_large"
        timing = answer.headers["Server-Timing"]
        milliseconds.append(float(timing.split("decode;dur=")[1].split(",")[0]))
    assert min(milliseconds) < 50
    assert sample(model.service.group).worker_bytes < before + 20_000_000

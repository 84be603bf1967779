"""A share of `make fuzz`: hostile requests to a real TorchServe, whose worker must survive."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from PIL import Image

from scripts.stress.fuzz.campaign import FuzzReport, run_campaign
from scripts.stress.fuzz.connection import send
from scripts.stress.fuzz.hostile_requests import REQUEST_MAKERS, hostile_request
from scripts.stress.fuzz.report import outcome_table
from scripts.stress.process_monitor import sample_processes
from serving.wire import OUTPUT_HEADER
from tests.photos import encoded, photo, png_header
from tests.service.conftest import RunningModel

REQUESTS = 200


@pytest.fixture(scope="module")
def report(model: RunningModel) -> FuzzReport:
    return run_campaign(model.service, range(REQUESTS), warm_up=0, idle_seconds=0)


def test_the_worker_survives_and_every_response_is_acceptable(report: FuzzReport) -> None:
    assert report.deaths == 0, outcome_table(report)
    assert not report.faults, [
        (outcome.request.seed, outcome.request.category, outcome.fault, outcome.body[:200])
        for outcome in report.faults
    ]
    assert len(report.outcomes) == REQUESTS


def test_valid_and_invalid_requests_were_both_sent(report: FuzzReport) -> None:
    statuses = {outcome.status for outcome in report.outcomes if outcome.from_handler}
    assert {200, 400, 413, 415} <= statuses
    assert len({outcome.request.category for outcome in report.outcomes}) > 2 * len(REQUEST_MAKERS)


def test_afterwards_a_photo_gets_its_mask(report: FuzzReport, model: RunningModel) -> None:
    body = encoded(photo(75, 113), "JPEG")
    response = requests.post(model.url, data=body, timeout=60)
    mask = np.asarray(Image.open(io.BytesIO(response.content)))
    assert np.array_equal(mask, model.mask_in_process(body))


def test_failures_of_the_frontend_are_told_apart(model: RunningModel) -> None:
    """Known of TorchServe 0.12: an image declared as a form fails in Netty, before the handler."""
    seeds = (seed for seed in range(5000) if hostile_request(seed).category == "urlencoded")
    outcomes = [send(model.service, hostile_request(seed)) for _, seed in zip(range(6), seeds)]
    assert all(outcome.fault is None for outcome in outcomes)
    assert any(outcome.excused for outcome in outcomes)


def test_large_concurrent_responses_do_not_end_the_worker(model: RunningModel) -> None:
    """Without a limit TorchServe copies a batch's responses over and over, and kills the worker."""
    before = sample_processes(model.service.group).workers
    side, clients = 4000, 6
    body = encoded(Image.new("L", (side, side)), "PNG")
    deadline = time.monotonic() + 120

    def request_until_accepted(_: int) -> tuple[set[int], bytes]:
        statuses = set()
        while time.monotonic() < deadline:
            response = requests.post(
                model.url, data=body, headers={OUTPUT_HEADER: "npy"}, timeout=60
            )
            statuses.add(response.status_code)
            if response.status_code != 503:
                return statuses, response.content
            assert response.headers["Retry-After"] == "2"
            time.sleep(0.2)
        raise TimeoutError

    with ThreadPoolExecutor(clients) as pool:
        results = list(pool.map(request_until_accepted, range(clients)))
    assert {status for statuses, _ in results for status in statuses} <= {200, 503}
    for _, content in results:
        assert np.load(io.BytesIO(content)).shape == (side, side)
    assert sample_processes(model.service.group).workers == before


def test_a_small_png_of_60_000_by_60_000_pixels(model: RunningModel) -> None:
    """413 within milliseconds (by the service's own clock), and without memory for its pixels."""
    body = png_header(60_000, 60_000)
    requests.post(model.url, data=body, timeout=60)
    before = sample_processes(model.service.group).worker_bytes
    milliseconds = []
    for _ in range(10):
        response = requests.post(model.url, data=body, timeout=60)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "image_too_large"
        timing = response.headers["Server-Timing"]
        milliseconds.append(float(timing.split("decode;dur=")[1].split(",")[0]))
    assert min(milliseconds) < 50
    assert sample_processes(model.service.group).worker_bytes < before + 20_000_000

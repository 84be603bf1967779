"""The figures of a real TorchServe, and whether the dashboard and the alerts can find them."""

from __future__ import annotations

import re
import time

import pytest
import requests

from scripts.launch.loopback import tiny_image
from serving.formats import FORMATS
from tests.deploy.monitoring import alert_expressions, dashboard_expressions, metric_names
from tests.service.conftest import VERSION, RunningModel

SCRAPE_SECONDS = 30

# By Prometheus itself, for each address that it reads.
PROMETHEUS_OWN = {"up"}

# TorchServe takes a form apart before the handler sees it, fails on a broken one, and says 500.
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def scraped(model: RunningModel) -> str:
    """What Prometheus reads after one request of each kind."""
    for name in FORMATS:
        response = requests.post(f"{model.url}/{VERSION}/{name}", data=tiny_image(), timeout=60)
        assert response.status_code == requests.codes.ok, name
    assert requests.post(model.url, data=b"a=%zz", headers=FORM, timeout=60).status_code == 500
    assert requests.post(model.url, data=b"no image", timeout=60).status_code == 415
    # The last: what a worker wrote before is there when this is.
    refused = requests.post(f"{model.url}/{VERSION}/picture", data=tiny_image(), timeout=60)
    assert refused.status_code == 400
    return figures_with(model, 'segmenter_images_total{output="none",status="400"')


def test_every_metric_of_the_dashboard_and_the_alerts_is_there(scraped: str) -> None:
    there = set(re.findall(r"^(\w+)\{", scraped, re.MULTILINE))
    named = metric_names([*dashboard_expressions(), *alert_expressions()])
    assert len(named) > 10
    assert named - PROMETHEUS_OWN - there == set()


def test_images_are_counted_by_output_and_status(scraped: str) -> None:
    for name in FORMATS:
        assert value(scraped, f'segmenter_images_total{{output="{name}",status="200"') >= 1
    assert value(scraped, 'segmenter_images_total{output="mask",status="415"') >= 1


def test_shares_of_all_classes_are_whole(scraped: str, model: RunningModel) -> None:
    shares = [
        value(scraped, f'segmenter_class_share{{class="{label}"') for label in model.preset.labels
    ]
    assert sum(shares) == pytest.approx(1)
    assert 0 <= value(scraped, "segmenter_low_confidence_share{") <= 1


def test_a_stage_takes_as_long_in_the_figures_as_in_the_header(model: RunningModel) -> None:
    """One request alone: what the histogram gains is what Server-Timing says."""
    before = figures_with(model, "segmenter_batch_seconds_count")
    count = "segmenter_batch_seconds_count{"
    response = requests.post(model.url, data=tiny_image(), timeout=60)
    after = figures_with(model, f"{count}", more_than=value(before, count))
    entries = [entry.split(";dur=") for entry in response.headers["Server-Timing"].split(", ")]
    for stage, milliseconds in entries:
        key = f'segmenter_stage_seconds_sum{{stage="{stage}"'
        if stage == "batch":
            key = "segmenter_batch_seconds_sum{"
        seconds = value(after, key) - value(before, key)
        assert seconds == pytest.approx(float(milliseconds) / 1e3, abs=0.05)


def value(figures: str, series: str) -> float:
    """Of the series whose name and first labels are `series`."""
    match = re.search(rf"^{re.escape(series)}.* (\S+)$", figures, re.MULTILINE)
    assert match, f"no {series} in\n{figures}"
    return float(match[1])


def figures_with(model: RunningModel, series: str, more_than: float = 0) -> str:
    """The figures as soon as `series` is: they take their own way from the worker to TorchServe."""
    ends = time.monotonic() + SCRAPE_SECONDS
    while time.monotonic() < ends:
        found = requests.get(model.service.metrics, timeout=10).text
        if f"\n{series}" in found and value(found, series) > more_than:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {series} above {more_than} in\n{found}")

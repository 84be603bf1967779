"""Rules, scrape job and dashboard as Prometheus' own checker reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.debian import program
from tests.deploy.monitoring import FOLDER, alert_rules, dashboard_expressions, metric_names


@pytest.fixture(scope="module")
def promtool() -> Path:
    return program("promtool", "prometheus")


@pytest.mark.parametrize(
    "command",
    [
        "check rules alerts.yml",
        "check config prometheus.yml",
        "check config prometheus-ray.yml",
        "test rules alerts_test.yml",
    ],
)
def test_promtool_accepts(promtool: Path, command: str) -> None:
    run(promtool, command, FOLDER)


def test_an_alert_test_that_is_wrong_fails(promtool: Path, tmp_path: Path) -> None:
    rules = (FOLDER / "alerts.yml").read_text("ascii")
    (tmp_path / "alerts.yml").write_text(rules.replace("> 0.01", "> 0.5"), "ascii")
    tests = (FOLDER / "alerts_test.yml").read_text("ascii")
    (tmp_path / "alerts_test.yml").write_text(tests, "ascii")
    with pytest.raises(AssertionError, match="SegmenterErrors"):
        run(promtool, "test rules alerts_test.yml", tmp_path)


def test_each_alert_is_tested_to_fire_and_not_to() -> None:
    tests = (FOLDER / "alerts_test.yml").read_text("ascii")
    for rule in alert_rules():
        assert f"alertname: {rule['alert']}, exp_alerts: []" in tests
        assert f'"{rule["alert"]}"' in tests


def test_the_dashboards_expressions_are_promql(promtool: Path, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(dashboard_expressions())
    ]
    groups = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(groups), "ascii")
    run(promtool, "check rules rules.yml", tmp_path)


def test_metrics_are_told_from_the_rest_of_an_expression() -> None:
    text = 'sum by (le) (rate(a_total{b="c"}[5m])) / d > 2e6 unless e offset 6h'
    assert metric_names([text]) == {"a_total", "d", "e"}


def run(promtool: Path, command: str, folder: Path) -> None:
    result = subprocess.run(
        [promtool, *command.split()], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr

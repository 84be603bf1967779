"""The PromQL expressions of the dashboard and the alerts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import yaml

from scripts.common.terminal import ROOT

FOLDER = ROOT / "deploy" / "monitoring"

# Parts of PromQL that are not metrics: labels, windows, and words between expressions.
NO_METRICS = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)|\boffset \w+|\b(or|and|unless)\b")
NAME = re.compile(r"\b[A-Za-z_]\w*\b(?!\s*\()")


def dashboard_expressions() -> list[str]:
    """With values in place of Grafana's variables."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text("ascii"))
    return [
        target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".+")
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


def alert_expressions() -> list[str]:
    return [rule["expr"] for rule in alert_rules()]


def alert_rules() -> list[dict[str, str]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text("ascii"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metric_names(expressions: Iterable[str]) -> set[str]:
    return {name for text in expressions for name in NAME.findall(NO_METRICS.sub(" ", text))}

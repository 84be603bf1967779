"""The metrics that metrics.yaml declares, as Ray's: the same names and labels.

Ray's exporter writes them in lower case, with `ray_` before each and `_total` behind each counter.
deploy/monitoring/prometheus-ray.yml gives them back the names that the dashboard reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml
from ray.serve.metrics import Counter, Gauge, Histogram

from serving.telemetry.metrics import Sample

DECLARATIONS = Path(__file__).parents[1] / "metrics.yaml"

# Bounds of a histogram's buckets. Ray keeps no sums: it adds up the middles of the buckets. So the
# bounds of numbers are halfway between two; those of seconds are TorchServe's.
SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
NUMBERS = [count + 0.5 for count in range(33)]


class Metrics:
    """Records samples; those that are not declared are dropped."""

    def __init__(self, declarations: Path = DECLARATIONS) -> None:
        document = yaml.safe_load(declarations.read_text("utf-8"))
        self.labels: dict[str, tuple[str, ...]] = {}
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self.histograms: dict[str, Histogram] = {}
        for group in (document["ts_metrics"], document["model_metrics"]):
            for entry in group.get("counter", ()):
                self.counters[entry["name"]] = Counter(entry["name"], tag_keys=self.tags(entry))
            for entry in group.get("gauge", ()):
                self.gauges[entry["name"]] = Gauge(entry["name"], tag_keys=self.tags(entry))
            for entry in group.get("histogram", ()):
                self.histograms[entry["name"]] = Histogram(
                    entry["name"],
                    boundaries=SECONDS if entry["unit"] == "s" else NUMBERS,
                    tag_keys=self.tags(entry),
                )

    def tags(self, entry: dict[str, object]) -> tuple[str, ...]:
        dimensions = entry["dimensions"]
        assert isinstance(dimensions, list)
        return self.labels.setdefault(str(entry["name"]), tuple(map(str, dimensions)))

    def record(self, samples: Iterable[Sample]) -> None:
        """May be called from any thread."""
        for name, value, labels in samples:
            tags = dict(zip(self.labels.get(name, ()), labels))
            if name in self.counters and value > 0:  # Ray's counters refuse 0
                self.counters[name].inc(value, tags)
            elif name in self.gauges:
                self.gauges[name].set(value, tags)
            elif name in self.histograms:
                self.histograms[name].observe(value, tags)

"""The report of a calibration, as lines for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice

from scripts.quantization.measurement import Measurement
from scripts.training.report import table

SHOWN_LAYERS = 5  # that lose most


@dataclass(frozen=True)
class Report:
    model: str
    weights: str  # the SHA-256 of their file
    photos: int  # that it was calibrated with
    measurement: Measurement
    layers: Mapping[str, float]  # how far each layer alone moves the worst photo's logits


def report_json(report: Report) -> str:
    """Shares in 0..1; `drop` in points of mean IoU, null without masks."""
    measurement = report.measurement
    document = {
        "model": report.model,
        "weights": report.weights,
        "photos": {"calibrated_with": report.photos, "measured_on": len(measurement.agreement)},
        "agreement": {
            "mean": measurement.mean_agreement,
            "worst": measurement.agreement[measurement.worst_photo],
            "worst_photo": measurement.worst_photo,
        },
        "drop": measurement.drop,
        "scores": {name: asdict(scores) for name, scores in measurement.scores.items()},
        "layers": dict(report.layers),
    }
    return json.dumps(document, indent=2) + "\n"


def report_lines(report: Report) -> str:
    measurement = report.measurement
    worst = measurement.agreement[measurement.worst_photo]
    lines = [
        f"{report.model}: calibrated with {report.photos} photos, "
        f"measured on {len(measurement.agreement)}",
        f"pixels with the class of fp32: {measurement.mean_agreement:.3%} on average, "
        f"{worst:.3%} in the worst photo, {measurement.worst_photo}",
        "layers that move the logits most, each alone in int8: "
        + ", ".join(
            f"{name} {loss:.2%}" for name, loss in islice(report.layers.items(), SHOWN_LAYERS)
        ),
    ]
    if measurement.scores:
        lines.append(table(measurement.scores))
    return "\n".join(lines)

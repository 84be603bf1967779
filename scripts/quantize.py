"""Calibrate a model for int8 on photos, and measure what int8 costs.

    python -m scripts.quantize --preset street-resnet18 --data FOLDER [--measure FOLDER]

FOLDER holds photos, or images/ and masks/; with masks, mean IoUs are compared, too. The calibration
is written beside the weights, where builds of the archive find it, unless int8 loses too much or
misses the golden image; the report in any case. Without --measure, the photos that it was not made
with are measured on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.calibration import CPU, calibrate
from model.calibration_file import StoredCalibration, calibration_path, write_calibration
from model.digest import sha256_of
from model.optimize.inference import PixelSegmenter, int8_segmenter, optimize_for_pixels
from model.optimize.precision import fast_precision
from model.preset import PresetError, load_preset
from scripts.archive.build import own_weights
from scripts.archive.checkpoint import CheckpointError, trained_network
from scripts.common.terminal import exit_status, shown
from scripts.quantization.golden import check_golden_image
from scripts.quantization.layers import layer_losses
from scripts.quantization.measurement import EXACT, INT8, measure
from scripts.quantization.photos import Photo, find_photos, network_input, spread
from scripts.quantization.report import Report, report_json, report_lines
from scripts.training.evaluation import in_process
from segmenter_client.cli.access import int_at_least
from serving.runtime.loading import ArchiveError

# With 2, 4 and 8 photos street-resnet18 kept 99.88, 99.87 and 99.88 % of the pixels: a few are
# enough if they show what the model will see, and 32 cost a minute.
CALIBRATION_PHOTOS = 32

MEASURED_PHOTOS = 200  # at most; each is segmented in every precision

MAX_DROP = 0.5  # points of mean IoU
MIN_AGREEMENT = 0.99  # mean share of pixels with the same class, where there are no masks


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.quantize", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--preset", required=True, help="a preset's name or file")
    add("--weights", type=Path, help="a checkpoint instead of the preset's own")
    add("--data", type=Path, required=True, help="folder of photos, or of images/ and masks/")
    add("--measure", type=Path, help="another such folder to measure on")
    add("--photos", type=int_at_least(1), default=CALIBRATION_PHOTOS, help="default: %(default)s")
    add("--max-drop", type=float, default=MAX_DROP, help="points of mean IoU (%(default)s)")
    add("--report", type=Path, default=Path("report.json"), help="default: %(default)s")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    preset = load_preset(options.preset)
    weights = options.weights or own_weights(preset)
    preset, net = trained_network(preset, weights, verified=options.weights is None)
    photos = find_photos(options.data)
    chosen = spread(photos, options.photos)
    ranges = calibrate(net, (network_input(photo, preset) for photo in chosen))

    measured = spread(photos_to_measure(options.measure, photos, chosen), MEASURED_PHOTOS)
    # Of the others only what this processor computes in: bf16 without its instructions takes half
    # a minute a photo.
    predict = {
        precision: in_process(
            optimize_for_pixels(net, preset.mean, preset.std, "cpu", precision), preset
        )
        for precision in (EXACT, fast_precision(CPU))
    }
    # Not by the name "int8", which may fall back: then its plain twin is measured.
    segmenter = int8_segmenter(net, CPU, ranges)
    quantized = PixelSegmenter(segmenter, preset.mean, preset.std).eval()
    predict[INT8] = in_process(quantized, preset)
    measurement = measure(predict, measured, preset)
    worst = next(photo for photo in measured if photo.file.name == measurement.worst_photo)
    digest = sha256_of(weights)
    report = Report(
        preset.name,
        digest,
        len(chosen),
        measurement,
        layer_losses(net, ranges, network_input(worst, preset)),
    )
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(report_json(report))
    print(report_lines(report))
    print(f"report: {shown(options.report)}")
    measurement.check(options.max_drop, MIN_AGREEMENT)
    check_golden_image(quantized, net, preset)
    path = calibration_path(weights)
    stored = StoredCalibration(
        weights=digest,
        mean=preset.mean,
        std=preset.std,
        short_side=preset.short_side,
        photos=len(chosen),
        ranges=ranges,
    )
    write_calibration(stored, path)
    print(f"calibration: {shown(path)}")
    return 0


def photos_to_measure(
    folder: Path | None, photos: Sequence[Photo], chosen: Sequence[Photo]
) -> list[Photo]:
    """Those of the folder, else those that were not chosen to calibrate, else all."""
    if folder is not None:
        return find_photos(folder)
    return [photo for photo in photos if photo not in chosen] or list(photos)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return exit_status(lambda: run(options), PresetError, CheckpointError, ArchiveError, OSError)


if __name__ == "__main__":
    sys.exit(main())

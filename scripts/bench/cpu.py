"""The CPU benchmark: all its sections in one run, and the conditions they depend on."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import torch
import torchvision

from imaging import decode_image, resize
from model import calibrate
from model.calibration_file import StoredCalibration, calibration_path, write_calibration
from model.digest import sha256_of
from model.normalization import normalize
from model.optimize.precision import choose_precision
from model.preset import Preset, load_preset
from scripts.archive.build import WEIGHTS_FILE, build_archive, untrained
from scripts.archive.checkpoint import trained_network
from scripts.bench.forward import forward_timings, matmul_timings
from scripts.bench.hardware import processor_name
from scripts.bench.http_latency import http_timings
from scripts.bench.inputs import PHOTO_SIZES, drawn_jpeg
from scripts.bench.stages import decode_timings, encode_timings, mask_timings
from scripts.bench.timing import Timing


def all_timings(preset_name: str, photos: Mapping[str, bytes], rounds: int) -> Iterator[Timing]:
    """Every section, `rounds` times; `photos` are JPEGs for the requests over HTTP.

    The network is the preset's with random weights, the same for all contenders: its speed does not
    depend on them.
    """
    preset = load_preset(preset_name)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        weights, archive = Path(folder, WEIGHTS_FILE), Path(folder, "segmenter.mar")
        state = untrained(preset).state_dict()
        torch.save(state, weights)
        write_calibration(drawn_calibration(preset, weights), calibration_path(weights))
        build_archive(preset_name, archive, weights=weights)
        yield from matmul_timings(rounds)
        yield from forward_timings(preset, state, rounds)
        yield from mask_timings(rounds)
        yield from decode_timings(rounds)
        yield from encode_timings(rounds)
        yield from http_timings(preset, weights, archive, photos, rounds)


def drawn_calibration(preset: Preset, weights: Path) -> StoredCalibration:
    """A calibration of random weights: its numbers mean nothing, its speed is any other's."""
    _, net = trained_network(preset, weights)
    pixels = resize(decode_image(drawn_jpeg(PHOTO_SIZES["0.3 MP"])), (preset.short_side,) * 2)
    ranges = calibrate(net, [normalize(pixels[None], preset.mean, preset.std)])
    return StoredCalibration(
        weights=sha256_of(weights),
        mean=preset.mean,
        std=preset.std,
        short_side=preset.short_side,
        photos=1,
        ranges=ranges,
    )


def run_conditions() -> dict[str, str | int]:
    """What the figures depend on, apart from the code."""
    capabilities = torch.backends.cpu.get_cpu_capability()
    fast = choose_precision("auto", torch.device("cpu"), calibrated=True)
    return {
        "date": date.today().isoformat(),
        "processor": processor_name(),
        "capabilities": f"{capabilities}, {fast} is fast",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def timing_tables(timings: Sequence[Timing]) -> str:
    """One table for each section."""
    lines: list[str] = []
    section = None
    for timing in timings:
        if timing.section != section:
            section = timing.section
            lines += ["", f"| {section} | ms | speedup |", "|---|---:|---:|"]
        lines.append(f"| {timing.contender} | {timing.milliseconds:.1f} | {timing.speedup:.2f} |")
    return "\n".join(lines[1:])

"""Build the archive that TorchServe serves: handler, packages, resolved preset, weights.

    python -m scripts.build_archive --preset voc-resnet50

It becomes build/<model>.mar, to which build/segmenter.mar leads.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model.calibration_file import CalibrationError
from model.digest import sha256_of
from model.preset import PresetError
from scripts.archive.build import build_archive, preset_to_pack
from scripts.archive.checkpoint import CheckpointError
from scripts.archive.latest import archive_path, link_latest
from scripts.common.terminal import exit_status, say, shown
from scripts.common.version import project_version
from serving.runtime.loading import ArchiveError


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.build_archive", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--preset", required=True, help="a preset's name, or a preset file's path")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--weights", type=Path, help="a checkpoint instead of the preset's own")
    choice.add_argument("--random-weights", action="store_true", help="for trials: untrained")
    parser.add_argument("--name", default="segmenter", help="default: %(default)s")
    parser.add_argument(
        "--version", default=project_version(), help="of the model; default: %(default)s"
    )
    parser.add_argument("--output", type=Path, help="default: build/<model>.mar")
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    model = preset_to_pack(options.preset, random_weights=options.random_weights).name
    output = options.output or archive_path(model)
    preset = build_archive(
        options.preset,
        output,
        weights=options.weights,
        random_weights=options.random_weights,
        name=options.name,
        version=options.version,
    )
    if options.output is None:
        link_latest(output)
    if options.random_weights:
        say(f"{preset.name}: the weights are random, so its masks mean nothing")
    assert preset.weights is not None
    print(f"{preset.name} {options.version}, weights sha256:{preset.weights.sha256}")
    megabytes = output.stat().st_size / 1e6
    print(f"{shown(output)}, {megabytes:.1f} MB, sha256:{sha256_of(output)}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    faults = (PresetError, CheckpointError, CalibrationError, ArchiveError)
    return exit_status(lambda: execute(options), *faults)


if __name__ == "__main__":
    sys.exit(main())

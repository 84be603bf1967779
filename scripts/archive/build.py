"""Build the archive that TorchServe serves: handler, packages, resolved preset, weights.

    python -m scripts.build_archive --preset voc-resnet50 --output build/segmenter.mar

The same inputs give the same bytes. Nothing is packed that the stock TorchServe image cannot run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from model.digest import sha256_of
from model.preset import Preset, PresetError, WeightsSource, build_network, dump_preset, load_preset
from model.segmenter import Segmenter
from scripts.archive.checkpoint import CheckpointError, load_checkpoint, published_weights
from scripts.archive.portability import check_portable
from scripts.common.terminal import ROOT, UserError, exit_status, say, shown
from serving.runtime.golden import record_golden
from serving.runtime.loading import ArchiveError

PACKAGES = ("imaging", "model", "serving")

# Only what a worker runs is packed: reading checkpoints and looking up presets is over by then.
UNPACKED = ("__pycache__", ".*", "presets")

WEIGHTS_FILE = "weights.pth"
PRESET_FILE = "preset.yaml"
CONFIG_FILE = "model-config.yaml"

# What the archive says about when it was made, so that two builds of the same are the same.
MADE = (1980, 1, 1, 0, 0, 0)
MADE_TEXT = "01/01/1980 00:00:00"

# The seed of random weights.
SEED = 0


class BuildError(UserError):
    """The archive cannot be built as asked; says why, and what to do."""


def build_archive(
    preset_name: str | Path,
    output: Path,
    *,
    weights: Path | None = None,
    random_weights: bool = False,
    name: str = "segmenter",
    version: str = "1.0",
) -> Preset:
    """Write the archive to `output`, replacing it whole, and return the preset that is in it.

    The weights are those in the file `weights`, else the preset's own. With `random_weights` they
    are drawn, always the same, and the preset's name gets "-random" at its end.

    Raises BuildError, PresetError, CheckpointError, PortabilityError, or ArchiveError where the
    network answers nothing that could be served.
    """
    preset = load_preset(preset_name)
    net = untrained(preset)
    if random_weights:
        preset = dataclasses.replace(
            preset,
            name=f"{preset.name}-random",
            description=f"{preset.description} These weights are random.".strip(),
        )
    else:
        load_checkpoint(net, weights or own_weights(preset, preset_name))

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="archive-") as temp:
        stage = Path(temp)
        content = stage / "content"
        pack_code(content)
        check_portable(content)
        save_weights(net, content / WEIGHTS_FILE)
        source = WeightsSource(WEIGHTS_FILE, None, sha256_of(content / WEIGHTS_FILE))
        preset = dataclasses.replace(preset, weights=source)
        dump_preset(preset, content / PRESET_FILE)
        record_golden(net, preset, content)
        shutil.copy(ROOT / CONFIG_FILE, stage)
        rewrite(run_archiver(stage, name, version), output)
    return preset


def untrained(preset: Preset) -> Segmenter:
    """The preset's network with torchvision's initialisation, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return build_network(preset)


def own_weights(preset: Preset, preset_name: str | Path) -> Path:
    """The file with the preset's weights, downloaded where need be."""
    if preset.weights is None:
        raise BuildError(
            f"preset {preset.name} has no weights: give a checkpoint (make: WEIGHTS=<file>), "
            "or ask for random ones with --random-weights"
        )
    return published_weights(preset.weights)


def pack_code(content: Path) -> None:
    """Copy into `content` what a worker imports."""
    content.mkdir()
    shutil.copy(ROOT / "handler.py", content)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, content / package, ignore=shutil.ignore_patterns(*UNPACKED))


def save_weights(net: Segmenter, path: Path) -> None:
    """The network's parameters and statistics in fp32, without the auxiliary head's."""
    state: dict[str, Tensor] = {
        key: value.float() if value.is_floating_point() else value
        for key, value in net.state_dict().items()
        if not key.startswith("aux_classifier.")
    }
    torch.save(state, path)


def run_archiver(stage: Path, name: str, version: str) -> Path:
    """Call torch-model-archiver on `stage`/content; the archive that it made.

    Of a folder in --extra-files it packs what is in it, so `content` is the archive's root. It
    empties <temporary folder>/<model name> before it starts: it gets a temporary folder of its own.
    """
    (stage / "tmp").mkdir()
    command = [
        # Its own __init__ imports the module that is run here, of which Python warns.
        *(sys.executable, "-W", "ignore::RuntimeWarning", "-m", "model_archiver.model_packaging"),
        *("--model-name", name, "--version", version),
        *("--handler", "content/handler.py", "--config-file", CONFIG_FILE),
        *("--extra-files", "content", "--archive-format", "zip-store", "--export-path", "."),
    ]
    temp = str(stage / "tmp")
    done = subprocess.run(
        command,
        cwd=stage,
        env={**os.environ, "TMPDIR": temp, "TEMP": temp, "TMP": temp},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise BuildError(f"torch-model-archiver failed: {done.stdout.strip()}")
    return stage / f"{name}.mar"


def rewrite(made: Path, output: Path) -> None:
    """Copy an archive entry by entry, in order of their names and without the time of day.

    Nothing is compressed: weights hardly shrink, and zlib's bytes differ between its versions. The
    output appears whole or not at all.
    """
    partial = output.with_name(f"{output.name}.part")
    try:
        with zipfile.ZipFile(made) as source, zipfile.ZipFile(partial, "w") as target:
            for entry in sorted(source.infolist(), key=lambda entry: entry.filename):
                copy = zipfile.ZipInfo(entry.filename, MADE)
                copy.external_attr = 0o644 << 16
                copy.create_system = 3  # Unix, wherever it is built
                copy.file_size = entry.file_size
                with source.open(entry) as reader, target.open(copy, "w") as writer:
                    if entry.filename == "MAR-INF/MANIFEST.json":
                        writer.write(dated(reader.read()))
                    else:
                        shutil.copyfileobj(reader, writer, 1 << 20)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def dated(manifest: bytes) -> bytes:
    return json.dumps({**json.loads(manifest), "createdOn": MADE_TEXT}, indent=2).encode("ascii")


def run(options: argparse.Namespace) -> int:
    preset = build_archive(
        options.preset,
        options.output,
        weights=options.weights,
        random_weights=options.random_weights,
        name=options.name,
        version=options.version,
    )
    if options.random_weights:
        say(f"{preset.name}: the weights are random, so its masks mean nothing")
    assert preset.weights is not None
    print(f"{preset.name} {options.version}, weights sha256:{preset.weights.sha256}")
    megabytes = options.output.stat().st_size / 1e6
    print(f"{shown(options.output)}, {megabytes:.1f} MB, sha256:{sha256_of(options.output)}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.build_archive", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--preset", required=True, help="a preset's name, or a preset file's path")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--weights", type=Path, help="a checkpoint instead of the preset's own")
    choice.add_argument("--random-weights", action="store_true", help="for trials: untrained")
    parser.add_argument("--name", default="segmenter", help="default: %(default)s")
    parser.add_argument("--version", default="1.0", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "segmenter.mar")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options), PresetError, CheckpointError, ArchiveError)


if __name__ == "__main__":
    sys.exit(main())

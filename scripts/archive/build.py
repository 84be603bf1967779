"""The archive that TorchServe serves: handler, packages, resolved preset, weights.

The same inputs give the same bytes. Nothing is packed that the stock TorchServe image cannot run.
"""

from __future__ import annotations

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

from model.calibration_file import write_calibration
from model.digest import sha256_of
from model.preset import Preset, WeightsSource, build_network, dump_preset, load_preset
from model.segmenter import Segmenter
from scripts.archive.calibration import calibration_of
from scripts.archive.checkpoint import trained_network
from scripts.archive.portability import check_portable
from scripts.archive.published import published_weights
from scripts.common.terminal import ROOT, UserError, say
from scripts.common.version import project_version
from serving.runtime.golden import record_golden
from serving.runtime.loading import CALIBRATION_FILE

PACKAGES = ("imaging", "model", "serving")

# Only what a worker runs is packed: it never looks a preset up.
UNPACKED = ("__pycache__", ".*", "presets")

WEIGHTS_FILE = "weights.pth"
PRESET_FILE = "preset.yaml"
CONFIG_FILE = "model-config.yaml"

# The time that every archive gives as its own, so that two builds of the same inputs are equal.
MADE = (1980, 1, 1, 0, 0, 0)
MADE_TEXT = "01/01/1980 00:00:00"

# The seed of random weights.
SEED = 0


class BuildError(UserError):
    """The archive cannot be built; says why, and what to do."""


def build_archive(
    preset_name: str | Path,
    output: Path,
    *,
    weights: Path | None = None,
    random_weights: bool = False,
    name: str = "segmenter",
    version: str | None = None,
) -> Preset:
    """Write the archive to `output`, replacing it atomically, and return the preset in it.

    The weights are those in the file `weights`, else the preset's own. With `random_weights` they
    are drawn, always the same, and the preset's name gets "-random" at its end. Another project's
    weights give the preset its variant. `version` is this project's unless given.

    A calibration beside the weights is packed with them. Raises BuildError, PresetError,
    CheckpointError, CalibrationError, PortabilityError, or ArchiveError where the network's logits
    are not finite.
    """
    preset = preset_to_pack(preset_name, random_weights=random_weights)
    calibration = None
    if random_weights:
        net = untrained(preset)
    else:
        source = weights or own_weights(preset)
        preset, net = trained_network(preset, source, verified=weights is None)
        calibration = calibration_of(source, preset)
        if calibration is None:
            say(
                f"{preset.name} has no calibration, and will not run in int8. `make quantize "
                "DATA=<photos>` makes one: on processors with VNNI or AMX its network is then "
                "several times as fast as in fp32"  # 3.9 times with VNNI, benchmarks/cpu.md
            )

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="archive-") as temp:
        stage = Path(temp)
        content = stage / "content"
        pack_code(content)
        check_portable(content)
        save_weights(net, content / WEIGHTS_FILE)
        packed = WeightsSource(WEIGHTS_FILE, None, sha256_of(content / WEIGHTS_FILE))
        preset = dataclasses.replace(preset, weights=packed)
        dump_preset(preset, content / PRESET_FILE)
        if calibration is not None:
            of_packed = dataclasses.replace(calibration, weights=packed.sha256)
            write_calibration(of_packed, content / CALIBRATION_FILE)
        record_golden(net, preset, content)
        shutil.copy(ROOT / CONFIG_FILE, stage)
        rewrite(run_archiver(stage, name, version or project_version()), output)
    return preset


def preset_to_pack(preset_name: str | Path, *, random_weights: bool = False) -> Preset:
    """The preset as an archive shows it: one with random weights says so in its name."""
    preset = load_preset(preset_name)
    if not random_weights:
        return preset
    return dataclasses.replace(
        preset,
        name=f"{preset.name}-random",
        description=f"{preset.description} These weights are random.".strip(),
    )


def untrained(preset: Preset) -> Segmenter:
    """The preset's network with torchvision's initialisation, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return build_network(preset)


def own_weights(preset: Preset) -> Path:
    """The file with the preset's weights, downloaded if necessary."""
    if preset.weights is None:
        raise BuildError(
            f"preset {preset.name} has no weights: give a checkpoint (make: WEIGHTS=<file>), "
            "or choose random ones with --random-weights"
        )
    return published_weights(preset.weights)


def pack_code(content: Path) -> None:
    """Copy what a worker imports into the new folder `content`."""
    content.mkdir()
    shutil.copy(ROOT / "handler.py", content)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, content / package, ignore=shutil.ignore_patterns(*UNPACKED))


def save_weights(net: Segmenter, path: Path) -> None:
    """Save the network's parameters and statistics in fp32, without the auxiliary head's."""
    state: dict[str, Tensor] = {
        key: value.float() if value.is_floating_point() else value
        for key, value in net.state_dict().items()
        if not key.startswith("aux_classifier.")
    }
    torch.save(state, path)


def run_archiver(stage: Path, name: str, version: str) -> Path:
    """Run torch-model-archiver on `stage`/content; returns the archive that it made.

    It packs the content of a folder in --extra-files, so `content` becomes the archive's root. It
    empties <temporary folder>/<model name> before it starts, so it gets a temporary folder of its
    own.
    """
    (stage / "tmp").mkdir()
    command = [
        # Python warns that the package's own __init__ has imported the module which is run here.
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
    """Copy an archive entry by entry, ordered by name and without times.

    Nothing is compressed: weights hardly shrink, and zlib's output differs between its versions.
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

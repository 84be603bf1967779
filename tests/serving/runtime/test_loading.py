"""Archives that are broken: each is refused in one line that says what is wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from model.calibration_file import read_calibration, write_calibration
from model.digest import sha256_of
from model.optimize.precision import fast_precision
from model.optimize.quantized_conv import can_quantize
from model.preset import dump_preset, load_preset
from serving.runtime.loading import ArchiveError, load_model
from tests.archives import unpacked_archive

CPU = torch.device("cpu")
needs_int8 = pytest.mark.skipif(not can_quantize(), reason="no int8 convolutions")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_archive(tmp_path_factory.mktemp("whole"), calibrated=True)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "archive")


def no_preset(folder: Path) -> None:
    (folder / "preset.yaml").unlink()


def no_yaml(folder: Path) -> None:
    (folder / "preset.yaml").write_text("name: [tiny\nlabels: }")


def no_labels(folder: Path) -> None:
    document = yaml.safe_load((folder / "preset.yaml").read_text())
    del document["labels"]
    (folder / "preset.yaml").write_text(yaml.safe_dump(document))


def one_label_less(folder: Path) -> None:
    preset = load_preset(folder / "preset.yaml")
    assert preset.weights is not None
    changed = replace(
        preset,
        labels=preset.labels[1:],
        palette=preset.palette[1:],
        weights=replace(preset.weights, file="weights.pth"),
    )
    dump_preset(changed, folder / "preset.yaml")


def no_weights(folder: Path) -> None:
    (folder / "weights.pth").unlink()


def cut_weights(folder: Path) -> None:
    data = (folder / "weights.pth").read_bytes()
    (folder / "weights.pth").write_bytes(data[: len(data) // 2])


def other_network(folder: Path) -> None:
    path = folder / "weights.pth"
    state = torch.load(path, weights_only=True)
    torch.save({name: value for name, value in state.items() if "layer3" not in name}, path)
    preset = load_preset(folder / "preset.yaml")
    assert preset.weights is not None
    source = replace(preset.weights, file=path.name, sha256=sha256_of(path))
    dump_preset(replace(preset, weights=source), folder / "preset.yaml")


def no_calibration(folder: Path) -> None:
    (folder / "calibration.json").write_text("[1, 2]")


def calibration_of_other_weights(folder: Path) -> None:
    path = folder / "calibration.json"
    write_calibration(replace(read_calibration(path), weights="0" * 64), path)


def calibration_at_another_size(folder: Path) -> None:
    path = folder / "calibration.json"
    write_calibration(replace(read_calibration(path), short_side=576), path)


def calibration_of_another_network(folder: Path) -> None:
    path = folder / "calibration.json"
    stored = read_calibration(path)
    write_calibration(replace(stored, ranges={**stored.ranges, "backbone.layer4.0": 1.0}), path)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (no_preset, "preset.yaml is missing from the archive; build the archive again"),
        (no_yaml, "preset.yaml: cannot be read as YAML: "),
        (no_labels, "preset.yaml: the file lacks the key 'labels'; build the archive again"),
        (one_label_less, "preset.yaml has 4 labels, and weights.pth is for 5 classes"),
        (no_weights, "weights.pth is missing from the archive; build the archive again"),
        (cut_weights, "weights.pth is damaged: its SHA-256 is "),
        (other_network, "weights.pth does not fit preset tiny: "),
        (no_calibration, "calibration.json is damaged; build the archive again"),
        (calibration_of_other_weights, "calibration.json is of other weights; build"),
        (calibration_at_another_size, "is of short_side 576, and tiny has 64; build"),
        pytest.param(
            calibration_of_another_network,
            "another network: 1 layers are in only one of the two",
            marks=needs_int8,
        ),
    ],
)
def test_a_broken_archive_is_refused_in_one_line(
    folder: Path, fault: Callable[[Path], None], reason: str
) -> None:
    fault(folder)
    with pytest.raises(ArchiveError) as caught:
        load_model(folder, torch.device("cpu"), "int8")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_one_is_loaded(folder: Path) -> None:
    loaded = load_model(folder, torch.device("cpu"))
    assert loaded.digest == f"sha256:{sha256_of(folder / 'weights.pth')}"


@needs_int8
def test_a_calibrated_one_runs_in_int8(folder: Path) -> None:
    assert load_model(folder, CPU, "int8").precision == "int8"
    assert load_model(folder, CPU, "fp32").precision == "fp32"
    (folder / "calibration.json").unlink()
    assert load_model(folder, CPU, "auto").precision == fast_precision(CPU)


def test_int8_without_a_calibration_is_refused(folder: Path) -> None:
    (folder / "calibration.json").unlink()
    with pytest.raises(ArchiveError, match="precision is 'int8', which needs a calibration"):
        load_model(folder, CPU, "int8")


def test_an_unknown_precision_is_refused(folder: Path) -> None:
    with pytest.raises(ArchiveError, match="precision is 'int4'; expected 'auto', 'int8'"):
        load_model(folder, CPU, "int4")

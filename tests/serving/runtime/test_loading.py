"""Archives that are broken: each is refused in one line that says what is wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from model.digest import sha256_of
from model.preset import dump_preset, load_preset
from serving.runtime.loading import ArchiveError, load_model
from tests.archives import unpacked_archive


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_archive(tmp_path_factory.mktemp("whole"))


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
    ],
)
def test_a_broken_archive_is_refused_in_one_line(
    folder: Path, fault: Callable[[Path], None], reason: str
) -> None:
    fault(folder)
    with pytest.raises(ArchiveError) as caught:
        load_model(folder, torch.device("cpu"))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_one_is_loaded(folder: Path) -> None:
    loaded = load_model(folder, torch.device("cpu"))
    assert loaded.digest == f"sha256:{sha256_of(folder / 'weights.pth')}"

"""Archives: their content, reproducible builds, and refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from model import build_segmenter
from model.calibration_file import (
    CalibrationError,
    StoredCalibration,
    calibration_path,
    read_calibration,
    write_calibration,
)
from model.digest import sha256_of
from model.preset import build_network, dump_preset, load_preset
from model.variant import Variant
from scripts.archive import build as module
from scripts.archive import latest
from scripts.archive.build import BuildError, build_archive
from scripts.archive.portability import PortabilityError
from scripts.build_archive import main
from scripts.common.terminal import ROOT
from scripts.common.version import project_version
from tests.archives import unpacked_archive

pytestmark = pytest.mark.slow  # most tests build an archive


@pytest.fixture
def preset_file(tmp_path: Path) -> Path:
    """A user's own preset, with its weights beside it."""
    return unpacked_archive(tmp_path) / "preset.yaml"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "build" / "segmenter.mar"


def unpacked(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return folder


def test_what_is_packed_and_what_is_not(preset_file: Path, output: Path) -> None:
    build_archive(preset_file, output)
    with zipfile.ZipFile(output) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        assert archive.read("handler.py") == (ROOT / "handler.py").read_bytes()
        assert archive.read("model-config.yaml") == (ROOT / "model-config.yaml").read_bytes()
    code = {
        path.relative_to(ROOT).as_posix()
        for package in ("imaging", "model", "serving")
        for path in (ROOT / package).rglob("*.*")
        if not {"__pycache__", "presets"} & set(path.parts)
    }
    others = {"MAR-INF/MANIFEST.json", "handler.py", "model-config.yaml"}
    made = {"preset.yaml", "weights.pth", "golden.npz"}
    assert set(names) == code | others | made
    assert names == sorted(names)
    assert manifest["model"] == {
        "modelName": "segmenter",
        "modelVersion": project_version(),
        "handler": "handler.py",
        "configFile": "model-config.yaml",
    }


def test_the_calibration_beside_the_weights_is_packed(
    preset_file: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = preset_file.parent / "weights.pth"
    build_archive(preset_file, output)
    assert "tiny has no calibration" in capsys.readouterr().err
    assert not (unpacked(output, tmp_path / "without") / "calibration.json").exists()

    preset = load_preset(preset_file)
    stored = StoredCalibration(
        weights=sha256_of(weights),
        mean=preset.mean,
        std=preset.std,
        short_side=preset.short_side,
        photos=2,
        ranges={"backbone.maxpool": 1.5},
    )
    write_calibration(stored, calibration_path(weights))
    built = build_archive(preset_file, output)
    assert capsys.readouterr().err == ""
    folder = unpacked(output, tmp_path / "with")
    assert built.weights is not None
    of_packed = replace(stored, weights=built.weights.sha256)
    assert read_calibration(folder / "calibration.json") == of_packed

    for index, (other, misfit) in enumerate(
        [
            (replace(stored, weights="0" * 64), "other weights"),
            (replace(stored, short_side=1000), "short_side 1000, and tiny has "),
        ]
    ):
        write_calibration(other, calibration_path(weights))
        build_archive(preset_file, output)
        message = capsys.readouterr().err
        assert f"is of {misfit}" in message
        assert "it is left out; make quantize makes a new one" in message
        assert not (unpacked(output, tmp_path / f"other{index}") / "calibration.json").exists()

    calibration_path(weights).write_text("{}")
    with pytest.raises(CalibrationError, match=r"weights\.calibration\.json is not a calibration"):
        build_archive(preset_file, output)


def test_two_builds_are_the_same_bytes(
    preset_file: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_archive(preset_file, output)
    first = output.read_bytes()
    os.utime(preset_file.parent / "weights.pth", (0, 0))
    monkeypatch.setenv("TMPDIR", str(output.parent))
    monkeypatch.setattr("tempfile.tempdir", None)
    build_archive(preset_file, output)
    assert output.read_bytes() == first


def test_weights_are_the_checkpoints_without_the_auxiliary_head(
    preset_file: Path, output: Path, tmp_path: Path
) -> None:
    preset = load_preset(preset_file)
    net = build_segmenter(
        preset.backbone, preset.num_classes, preset.atrous_rates, True, features=preset.features
    )
    checkpoint = tmp_path / "trained.pth"
    torch.save({"model": net.half().state_dict()}, checkpoint)

    built = build_archive(preset_file, output, weights=checkpoint)

    folder = unpacked(output, tmp_path / "unpacked")
    packed = torch.load(folder / "weights.pth", weights_only=True)
    expected = {k: v for k, v in net.state_dict().items() if not k.startswith("aux_classifier.")}
    assert packed.keys() == expected.keys()
    for name, value in packed.items():
        assert value.dtype in (torch.float32, torch.int64)
        assert torch.equal(value, expected[name].to(value.dtype))

    assert built.weights is not None
    assert load_preset(folder / "preset.yaml").weights == replace(
        built.weights, file=str(folder / "weights.pth")
    )
    assert built.weights.sha256 == sha256_of(folder / "weights.pth")


def test_another_projects_weights_are_packed_with_its_variant(
    preset_file: Path, output: Path, tmp_path: Path
) -> None:
    """Its dilation is in no parameter: a worker has it from the preset alone."""
    preset = replace(load_preset(preset_file), atrous_rates=(2, 4, 6))
    dump_preset(preset, preset_file)
    theirs = smp.DeepLabV3(
        preset.backbone,
        encoder_depth=4,
        encoder_weights=None,
        decoder_atrous_rates=preset.atrous_rates,
        classes=preset.num_classes,
    )
    torch.save(theirs.state_dict(), tmp_path / "trained.pth")
    build_archive(preset_file, output, weights=tmp_path / "trained.pth")
    folder = unpacked(output, tmp_path / "unpacked")
    packed = load_preset(folder / "preset.yaml")
    assert packed.variant == Variant("segmentation_models_pytorch")
    served = build_network(packed).eval()
    served.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    image = torch.randn(1, 3, 65, 97)
    with torch.inference_mode():
        expected = theirs.eval().segmentation_head[0](theirs.decoder(theirs.encoder(image)))
        torch.testing.assert_close(served(image), expected, rtol=1e-4, atol=1e-4)


def test_the_packed_code_does_not_need_the_checkout(
    preset_file: Path, output: Path, tmp_path: Path
) -> None:
    build_archive(preset_file, output)
    folder = unpacked(output, tmp_path / "unpacked")
    found = subprocess.run(
        [sys.executable, "-c", "import handler, model; print(model.__file__)"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == str(folder / "model" / "__init__.py"), found.stderr


def test_random_weights_are_in_the_name_and_always_the_same(
    preset_file: Path, output: Path
) -> None:
    first = build_archive(preset_file, output, random_weights=True)
    torch.rand(3)
    second = build_archive(preset_file, output, random_weights=True)
    assert first.name == "tiny-random"
    assert first == second


def test_a_preset_without_weights_is_refused(preset_file: Path, output: Path) -> None:
    dump_preset(replace(load_preset(preset_file), weights=None), preset_file)
    with pytest.raises(BuildError, match="preset tiny has no weights"):
        build_archive(preset_file, output)


def test_code_that_is_not_portable_is_refused_and_the_last_archive_kept(
    preset_file: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.parent.mkdir()
    output.write_bytes(b"the last one")
    source = tmp_path / "source"
    for package in module.PACKAGES:
        (source / package).mkdir(parents=True)
    (source / "handler.py").write_text("import json\nimport requests\n")
    monkeypatch.setattr(module, "ROOT", source)
    with pytest.raises(PortabilityError, match=r"handler\.py:2: imports requests"):
        build_archive(preset_file, output)
    assert output.read_bytes() == b"the last one"
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "no-such"], "there is no preset 'no-such'"),
        (["--preset", "voc-resnet50", "--weights", "absent.pth"], "absent.pth"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--output", str(output)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert message in printed
    assert printed.count("\n") == 1


def test_what_is_printed(
    preset_file: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--preset", str(preset_file), "--output", str(output)]) == 0
    weights, archive = capsys.readouterr().out.splitlines()
    assert weights.startswith(f"tiny {project_version()}, weights sha256:")
    assert str(output) in archive
    assert archive.endswith(f"sha256:{sha256_of(output)}")


def test_a_version_of_ones_own(preset_file: Path, output: Path) -> None:
    build_archive(preset_file, output, version="2.0")
    with zipfile.ZipFile(output) as archive:
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
    assert manifest["model"]["modelVersion"] == "2.0"


def test_an_archive_is_named_by_its_model_and_linked_to_as_the_latest(
    preset_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tmp_path / "build"
    monkeypatch.setattr(latest, "BUILD", build)
    monkeypatch.setattr(latest, "LATEST_ARCHIVE", build / "segmenter.mar")
    for model, options in (("tiny", []), ("tiny-random", ["--random-weights"])):
        assert main(["--preset", str(preset_file), *options]) == 0
        assert (build / "segmenter.mar").resolve() == build / f"{model}.mar"
    assert len(list(build.iterdir())) == 3

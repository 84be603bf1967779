from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from model.preset import load_preset
from scripts import train
from scripts.archive.checkpoint import load_checkpoint, read_checkpoint
from scripts.common.terminal import ROOT
from scripts.training.dataset import VOID
from scripts.training.history import read_rows
from scripts.training.network import build
from scripts.training.trainer import Trainer
from tests.scripts.training.labelled import LABELS, write_data, write_preset, write_split


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    return write_preset(tmp_path / "drawn.yaml")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def run(preset: Path, data: Path, output: Path, *more: str) -> int:
    """A short run in this process: 8 steps, half of them coarse."""
    arguments = {"preset": preset, "data": data, "output": output, "steps": 8, "coarse": 0.5}
    arguments |= {"batch": 2, "workers": 0, "save-every": 3, "lr": 0.003}
    flags = [str(part) for key, value in arguments.items() for part in (f"--{key}", value)]
    return train.main([*flags, "--crop", "48", "64", *more])


@pytest.mark.slow
def test_a_run_learns_and_leaves_weights_that_load(
    preset: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--steps", "60", "--validate-every", "30", "--coarse", "0")
    assert run(preset, data, tmp_path / "out", *more) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "val mIoU" in line]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    ious = [float(line.split("mIoU ")[1].split()[0]) for line in lines]
    assert losses[1] < 0.8 * losses[0], losses
    assert ious[1] > 0.4, ious  # masks of one class alone score at most 1/3 with three classes

    net = build(load_preset(preset), coarse=False)
    load_checkpoint(net, tmp_path / "out" / "drawn.pth")
    state = read_checkpoint(tmp_path / "out" / "drawn.pth")
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {torch.float16}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("steps_before", [4, 7], ids=["coarse", "fine"])
@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_not_stopped(
    preset: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    steps_before: int,
    number: signal.Signals,
) -> None:
    """With a signal that arrives in the middle of a step."""
    more = ("--save-every", "100", "--validate-every", "2")
    assert run(preset, data, tmp_path / "whole", *more) == 0

    def interrupt(trainer: Trainer, image: Tensor, target: Tensor) -> Tensor:
        if trainer.step == steps_before - 1:
            signal.raise_signal(number)
        return train_step(trainer, image, target)

    train_step = Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", interrupt)
    assert run(preset, data, tmp_path / "parts", *more) == 128 + number
    assert f"stopped after step {steps_before}; --resume" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(preset, data, tmp_path / "parts", *more, "--resume") == 0

    whole, parts = (
        torch.load(tmp_path / name / "last.pth", weights_only=True) for name in ("whole", "parts")
    )
    assert whole["step"] == parts["step"] == 8
    for part in ("net", "model"):
        torch.testing.assert_close(parts[part], whole[part], rtol=0, atol=0)
    rows, rows_of_parts = (read_rows(tmp_path / name) for name in ("whole", "parts"))
    assert [row["step"] for row in rows_of_parts] == [2, 4, 6, 8]
    assert [row["mean_iou"] for row in rows] == [row["mean_iou"] for row in rows_of_parts]


@pytest.mark.slow
def test_ctrl_c_reaches_a_program_whose_samples_are_drawn_by_other_processes(
    preset: Path, data: Path, tmp_path: Path
) -> None:
    """As from a terminal, which sends SIGINT to the whole process group."""
    output = tmp_path / "out"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "scripts.train",
        "--preset",
        preset,
        "--data",
        data,
    ]
    command += ["--output", output, "--steps", "100000", "--batch", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--crop", "48", "64", "--workers", "2", "--validate-every", "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("step 10:"):
                    break
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    step = torch.load(output / "last.pth", weights_only=True)["step"]
    assert f"train: stopped after step {step}; --resume" in errors
    assert step >= 10


def test_a_run_is_not_overwritten_and_not_resumed_without_a_checkpoint(
    preset: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(preset, data, tmp_path / "new", "--resume") == 1
    assert "last.pth is missing: there is nothing to resume" in capsys.readouterr().err
    assert run(preset, data, tmp_path / "old", "--steps", "1") == 0
    assert run(preset, data, tmp_path / "old", "--steps", "1") == 1
    assert "last.pth is another run's; --resume" in capsys.readouterr().err
    assert run(preset, data, tmp_path / "old", "--resume", "--aux-head") == 1
    assert "last.pth is of a run with other settings" in capsys.readouterr().err


def test_a_sequence_that_is_left_out_is_what_the_network_is_validated_on(
    preset: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(data / "val")  # is not read
    write_split(data / "train", 3, seed=200, sequence="night")
    assert run(preset, data, tmp_path / "out", "--steps", "1", "--leave-out", "night") == 0
    assert "training: 6 frames, 5.1% void; validation: 3 frames" in capsys.readouterr().out
    (row,) = read_rows(tmp_path / "out")
    assert row["step"] == 1
    assert run(preset, data, tmp_path / "other", "--leave-out", "day") == 1
    assert "cannot leave out 'day'" in capsys.readouterr().err


def test_strong_augmentation_and_an_auxiliary_head_leave_weights_that_load(
    preset: Path, data: Path, tmp_path: Path
) -> None:
    more = ("--steps", "2", "--augmentation", "strong", "--aux-head")
    assert run(preset, data, tmp_path / "out", *more) == 0
    net = build(load_preset(preset), coarse=False)
    assert net.aux_classifier is None
    load_checkpoint(net, tmp_path / "out" / "drawn.pth")
    state = read_checkpoint(tmp_path / "out" / "drawn.pth")
    assert not [name for name in state if name.startswith("aux_classifier.")]


def shrink_mask(data: Path) -> str:
    path = data / "train/masks/3.png"
    Image.open(path).resize((48, 64)).save(path)
    return "3.png is 48x64, but"


def exceed_classes(data: Path) -> str:
    path = data / "val/masks/1.png"
    mask = np.array(Image.open(path))
    mask[5, 5] = len(LABELS) + 1
    Image.fromarray(mask).save(path)
    return "1.png holds class id 4"


def lose_mask(data: Path) -> str:
    (data / "train/masks/2.png").unlink()
    return "2.png has no mask"


def colour_mask(data: Path) -> str:
    path = data / "train/masks/0.png"
    Image.open(path).convert("RGB").save(path)
    return "0.png has mode RGB"


def break_mask(data: Path) -> str:
    (data / "train/masks/4.png").write_bytes(b"not a PNG")
    return "4.png is not a readable PNG"


def break_image(data: Path) -> str:
    path = data / "train/images/5.png"
    path.write_bytes(path.read_bytes()[:200])
    return "5.png: The PNG file ends early"


def void_all(data: Path) -> str:
    for path in (data / "train/masks").iterdir():
        Image.fromarray(np.full((64, 96), VOID, np.uint8)).save(path)
    return "every pixel is void"


@pytest.mark.parametrize(
    "spoil",
    [shrink_mask, exceed_classes, lose_mask, colour_mask, break_mask, break_image, void_all],
)
def test_bad_data_is_named_before_training_starts(
    preset: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], str],
) -> None:
    expected = spoil(data)
    assert run(preset, data, tmp_path / "out") == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

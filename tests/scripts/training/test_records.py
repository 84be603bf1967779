from __future__ import annotations

import csv
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from model.preset import load_preset
from scripts.training.curves import CURVES, open_events
from scripts.training.dataset import VOID
from scripts.training.first_look import VOID_COLOUR, write_first_look
from scripts.training.history import HISTORY, Validation, append_row, drop_rows_after, read_rows
from scripts.training.interruption import pending_signal
from scripts.training.metrics import Scores
from scripts.training.network import build
from scripts.training.progress import Progress
from scripts.training.records import Records
from tests.scripts.training.labelled import COLOURS, write_preset


def validation(step: int, mean_iou: float) -> Validation:
    iou = {"sky": mean_iou, "ground": mean_iou, "box": None}
    return Validation(step, 2 / step, 0.001, Scores(mean_iou, 0.9, iou, 2))


def test_the_history_is_a_table_of_numbers_and_loses_what_a_resumed_run_repeats(
    tmp_path: Path,
) -> None:
    assert read_rows(tmp_path) == []
    drop_rows_after(tmp_path, 0)  # there is none
    for step in (10, 20, 30):
        append_row(tmp_path, validation(step, step / 100))
    with (tmp_path / HISTORY).open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [
        *("step", "loss", "learning_rate", "mean_iou", "pixel_accuracy"),
        *("iou_sky", "iou_ground", "iou_box"),
    ]
    assert rows[1] == ["20", "0.1", "0.001", "0.2", "0.9", "0.2", "0.2", ""]
    drop_rows_after(tmp_path, 20)
    append_row(tmp_path, validation(30, 0.5))
    assert [(row["step"], row["mean_iou"]) for row in read_rows(tmp_path)] == [
        (10, 0.1),
        (20, 0.2),
        (30, 0.5),
    ]


def test_records_keep_the_best_weights_and_what_tensorboard_shows(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    preset = load_preset(write_preset(tmp_path / "drawn.yaml"))
    net = build(preset, coarse=False)
    bias = net.get_parameter("classifier.4.bias")
    records = Records(tmp_path, preset, 0)
    for step, mean_iou in ((10, 0.3), (20, 0.6), (30, 0.5)):
        torch.nn.init.constant_(bias, step)
        records.add(validation(step, mean_iou), net)
    records.close()
    best = torch.load(tmp_path / "drawn-best.pth", weights_only=True)
    assert (best["classifier.4.bias"] == 20).all()
    with Image.open(tmp_path / CURVES) as curves:
        assert curves.size == (900, 600)

    # A run resumed after step 20, which gets to 30 again.
    drop_rows_after(tmp_path, 20)
    resumed = Records(tmp_path, preset, 20)
    torch.nn.init.constant_(bias, 31)
    resumed.add(validation(30, 0.55), net)
    resumed.close()
    best = torch.load(tmp_path / "drawn-best.pth", weights_only=True)
    assert (best["classifier.4.bias"] == 20).all()

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        *("loss", "learning rate", "mean IoU", "IoU/sky", "IoU/ground"),
    }
    shown = [(event.step, round(event.value, 4)) for event in events.Scalars("mean IoU")]
    assert shown == [(10, 0.3), (20, 0.6), (30, 0.55)]


def test_training_goes_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert open_events(tmp_path, 0) is None


def test_a_log_gets_lines_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter((100.0, 110.0, 131.0, 131.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    shown = Progress(100, 200)
    assert not shown.is_due(105)  # after 10 of 30 seconds
    assert shown.is_due(131)
    shown.show(131, 1.25)
    shown.close()
    assert capsys.readouterr().err == ("step 131 of 200: loss 1.250, 1.00 steps/s, 01:09 left\n")


def test_the_first_look_shows_crops_above_their_targets(tmp_path: Path) -> None:
    preset = load_preset(write_preset(tmp_path / "drawn.yaml"))
    images = torch.zeros(2, 3, 8, 12)  # normalised: the mean colour
    targets = torch.full((2, 8, 12), 2)
    targets[1] = VOID
    write_first_look(images, targets, preset, tmp_path / "look.png")
    with Image.open(tmp_path / "look.png") as look:
        assert look.size == (24, 16)
        grey = look.getpixel((0, 0))
        assert grey == (128, 128, 128)
        for x, colour in ((3, tuple(COLOURS[2].tolist())), (15, VOID_COLOUR)):
            expected = [0.4 * 128 + 0.6 * channel for channel in colour]
            assert look.getpixel((x, 12)) == pytest.approx(expected, abs=1)


def test_the_first_signal_waits_and_the_second_acts_as_before() -> None:
    with pending_signal() as received:
        assert received() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert received() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

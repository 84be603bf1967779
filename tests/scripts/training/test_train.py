from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from model import build_segmenter
from model.preset import load_preset
from scripts.archive.checkpoint import CheckpointError, load_checkpoint, read_checkpoint
from scripts.training import train
from scripts.training.dataset import VOID, find_frames
from tests.scripts.training.labelled import LABELS, write_data, write_preset


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

    net = train.build(load_preset(preset), coarse=False)
    load_checkpoint(net, tmp_path / "out" / "drawn.pth")
    state = read_checkpoint(tmp_path / "out" / "drawn.pth")
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {torch.float16}


@pytest.mark.parametrize("steps_before", [4, 7], ids=["coarse", "fine"])
def test_a_stopped_run_resumes_as_if_it_had_not_been(
    preset: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_before: int
) -> None:
    assert run(preset, data, tmp_path / "whole") == 0

    def stop(mean: torch.nn.Module, net: torch.nn.Module, step: int) -> None:
        if step == steps_before:
            raise KeyboardInterrupt
        average(mean, net, step)

    average = train.average
    monkeypatch.setattr(train, "average", stop)
    assert run(preset, data, tmp_path / "parts") == 130
    monkeypatch.undo()
    assert run(preset, data, tmp_path / "parts", "--resume") == 0

    whole, parts = (
        torch.load(tmp_path / name / "last.pth", weights_only=True) for name in ("whole", "parts")
    )
    assert whole["step"] == parts["step"] == 8
    for part in ("net", "model"):
        torch.testing.assert_close(parts[part], whole[part], rtol=0, atol=0)


def test_a_run_is_not_overwritten_and_not_resumed_from_nothing(
    preset: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(preset, data, tmp_path / "new", "--resume") == 1
    assert "last.pth is missing: there is nothing to resume" in capsys.readouterr().err
    assert run(preset, data, tmp_path / "old", "--steps", "1") == 0
    assert run(preset, data, tmp_path / "old", "--steps", "1") == 1
    assert "last.pth is another run's; --resume" in capsys.readouterr().err


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
    (data / "train/masks/4.png").write_bytes(b"no picture")
    return "4.png is no readable PNG"


def break_image(data: Path) -> str:
    path = data / "train/images/5.png"
    path.write_bytes(path.read_bytes()[:200])
    return "5.png: The PNG file ends early"


def void_all(data: Path) -> str:
    for path in (data / "train/masks").iterdir():
        Image.fromarray(np.full((64, 96), VOID, np.uint8)).save(path)
    return "train: every pixel is void"


@pytest.mark.parametrize(
    "spoil",
    [shrink_mask, exceed_classes, lose_mask, colour_mask, break_mask, break_image, void_all],
)
def test_bad_data_is_named_before_training_starts(
    preset: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: object
) -> None:
    expected = spoil(data)  # type: ignore[operator]
    assert run(preset, data, tmp_path / "out") == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_other_classes_keeps_all_but_its_last_layer(
    preset: Path, tmp_path: Path
) -> None:
    path = tmp_path / "voc.pth"
    published = build_segmenter("resnet18", 21, (2, 4, 6), True, features="layer3")
    torch.save(published.state_dict(), path)
    net = train.build(load_preset(preset), coarse=False)
    fresh = {name: value.clone() for name, value in net.state_dict().items()}
    train.initialise(net, str(path))
    for name, value in net.state_dict().items():
        source = fresh if name.startswith("classifier.4.") else published.state_dict()
        assert torch.equal(value, source[name]), name


def test_a_checkpoint_of_another_network_is_refused(preset: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep.pth"
    torch.save(build_segmenter("resnet34", 3, features="layer3").state_dict(), path)
    with pytest.raises(CheckpointError, match=r"deep\.pth does not fit"):
        train.initialise(train.build(load_preset(preset), coarse=False), str(path))


def test_a_coarse_network_becomes_the_fine_one(preset: Path) -> None:
    coarse, fine = (train.build(load_preset(preset), coarse=coarse) for coarse in (True, False))
    fine.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 64, 96)
    coarse.eval(), fine.eval()
    assert coarse(image).shape == (1, 3, 4, 6)
    train.take_strides(coarse, fine)
    torch.testing.assert_close(coarse(image), fine(image), rtol=0, atol=0)


def test_a_sample_depends_on_its_number_and_the_seed_alone(preset: Path, data: Path) -> None:
    frames = find_frames(data / "train")
    size = (40, 160)  # wider than some scaled frames
    crops, again, other = (
        train.Crops(frames, load_preset(preset), size, seed) for seed in (0, 0, 1)
    )
    seen: set[int] = set()
    for number in (5, 0, 12):
        image, target = crops[number]
        assert image.shape == (3, *size)
        assert target.shape == size
        seen |= set(target.unique().tolist())
        assert torch.equal(image, again[number][0])
        assert torch.equal(target, again[number][1])
        assert not torch.equal(image, other[number][0])
    assert seen == {0, 1, 2, VOID}


@given(
    frame=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    size=st.tuples(st.integers(8, 50), st.integers(8, 50)),
    scale=st.floats(0.3, 3),
    seed=st.integers(0, 2**32),
)
def test_a_cut_takes_photo_and_target_from_the_same_place(
    frame: tuple[int, int], size: tuple[int, int], scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    target = torch.from_numpy(rng.integers(0, 4, frame, dtype=np.uint8))
    image = target.expand(3, -1, -1).clone()
    cut_image, cut_target = train.cut(image, target, size, scale, np.random.default_rng(seed))
    assert cut_image.shape[1:] == cut_target.shape
    assert all(side <= goal for side, goal in zip(cut_target.shape, size))
    # Unscaled, they are still the same pixels.
    cut_image, cut_target = train.cut(image, target, size, 1.0, np.random.default_rng(seed))
    assert torch.equal(cut_image[0], cut_target)


def test_balanced_crops_find_a_single_pixel() -> None:
    target = torch.zeros(200, 200, dtype=torch.uint8)
    target[17, 160] = 1
    image = torch.zeros(3, 200, 200, dtype=torch.uint8)
    found = [
        bool(train.cut(image, target, (20, 20), 1.0, np.random.default_rng(seed))[1].any())
        for seed in range(200)
    ]
    # A quarter: half of the crops are balanced, between two classes. At random it is one in 100.
    assert 25 <= sum(found) <= 80


def hard(target: Tensor, num_classes: int) -> Tensor:
    """Logits that are certain of these classes."""
    return 100.0 * torch.nn.functional.one_hot(target, num_classes).movedim(-1, 1)


def test_lovasz_of_a_certain_mask_is_one_minus_its_mean_iou() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (2, 9, 7), generator=generator)
    mask = torch.where(
        torch.rand(target.shape, generator=generator) < 0.3, (target + 1) % 3, target
    )
    iou = [
        ((mask == k) & (target == k)).sum() / ((mask == k) | (target == k)).sum() for k in range(3)
    ]
    expected = 1 - torch.stack(iou).mean()
    void = torch.full((2, 4, 7), VOID)  # does not count, whatever the mask says there
    logits = hard(torch.cat((mask, torch.zeros_like(void)), dim=1), 3)
    loss = train.lovasz(logits, torch.cat((target, void), dim=1))
    torch.testing.assert_close(loss, expected)


def test_lovasz_of_nothing_but_void_is_zero_with_a_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = train.lovasz(logits, torch.full((1, 4, 4), VOID))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_rare_classes_weigh_more_within_bounds() -> None:
    weights = train.class_weights(torch.tensor([4_000_000, 1000, 4000, 0, 250]))
    torch.testing.assert_close(weights, torch.tensor([1 / 3, 1.0, 0.5, 3.0, 2.0]))


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [train.learning_rate(step, 100, 0.1) for step in range(100)]
    assert max(rates) == pytest.approx(0.1)
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 1e-4

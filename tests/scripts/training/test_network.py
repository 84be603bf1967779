from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model import build_segmenter
from model.preset import load_preset
from scripts.archive.checkpoint import CheckpointError
from scripts.training.network import build, copy_strides, initialise
from tests.scripts.training.labelled import write_preset


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    return write_preset(tmp_path / "drawn.yaml")


def test_a_checkpoint_of_other_classes_keeps_all_but_its_last_layer(
    preset: Path, tmp_path: Path
) -> None:
    path = tmp_path / "voc.pth"
    published = build_segmenter("resnet18", 21, (2, 4, 6), True, features="layer3")
    torch.save(published.state_dict(), path)
    net = build(load_preset(preset), coarse=False)
    fresh = {name: value.clone() for name, value in net.state_dict().items()}
    initialise(net, str(path))
    for name, value in net.state_dict().items():
        source = fresh if name.startswith("classifier.4.") else published.state_dict()
        assert torch.equal(value, source[name]), name


def test_a_checkpoint_of_another_network_is_refused(preset: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep.pth"
    torch.save(build_segmenter("resnet34", 3, features="layer3").state_dict(), path)
    with pytest.raises(CheckpointError, match=r"deep\.pth does not fit"):
        initialise(build(load_preset(preset), coarse=False), str(path))


def test_a_coarse_network_becomes_the_fine_one(preset: Path) -> None:
    coarse, fine = (build(load_preset(preset), coarse=coarse) for coarse in (True, False))
    fine.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 64, 96)
    coarse.eval(), fine.eval()
    assert coarse(image).shape == (1, 3, 4, 6)
    copy_strides(fine, coarse)
    torch.testing.assert_close(coarse(image), fine(image), rtol=0, atol=0)

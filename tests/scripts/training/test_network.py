from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from model import build_segmenter
from model.preset import load_preset
from model.variant import Variant
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


def test_a_checkpoint_of_another_project_needs_the_presets_variant(
    preset: Path, tmp_path: Path
) -> None:
    theirs = smp.DeepLabV3(
        "resnet18", 4, None, decoder_atrous_rates=(2, 4, 6), classes=21
    ).state_dict()
    path = tmp_path / "theirs.pth"
    torch.save(theirs, path)
    plain = load_preset(preset)
    with pytest.raises(CheckpointError, match=r'variant: \{"implementation"'):
        initialise(build(plain, coarse=False), str(path))
    own = replace(plain, variant=Variant("segmentation_models_pytorch"))
    net = build(own, coarse=False)
    initialise(net, str(path), own.variant)
    assert torch.equal(net.state_dict()["backbone.conv1.weight"], theirs["encoder.conv1.weight"])


def test_a_coarse_network_becomes_the_fine_one(preset: Path) -> None:
    coarse, fine = (build(load_preset(preset), coarse=coarse) for coarse in (True, False))
    fine.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 64, 96)
    coarse.eval(), fine.eval()
    assert coarse(image).shape == (1, 3, 4, 6)
    copy_strides(fine, coarse)
    torch.testing.assert_close(coarse(image), fine(image), rtol=0, atol=0)

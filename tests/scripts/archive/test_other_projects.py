"""Other projects' checkpoints: the same logits as in the network that they were saved from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from model import build_segmenter, optimize_for_inference
from model.preset import Preset, build_network, dump_preset, load_preset
from model.variant import MMSEG, SMP, Variant
from scripts.archive.checkpoint import CheckpointError, load_checkpoint, trained_network
from tests.conftest import randomize
from tests.scripts.archive.mmsegmentation import EncoderDecoder

TOLERANCE = 1e-4  # of the largest logit: the bar of the comparison with torchvision


@pytest.fixture(scope="module")
def image() -> Tensor:
    """Of odd sizes."""
    return torch.randn(1, 3, 97, 161, generator=torch.Generator().manual_seed(3))


def preset_of(backbone: str, num_classes: int, **changes: object) -> Preset:
    labels = tuple(f"class {index}" for index in range(num_classes))
    preset = replace(
        load_preset("voc-resnet50"),
        name="own",
        backbone=backbone,
        labels=labels,
        palette=((0, 0, 0),) * num_classes,
        weights=None,
    )
    return replace(preset, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("output_stride", [8, pytest.param(16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("backbone", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_segmentation_models_pytorch(
    tmp_path: Path, image: Tensor, backbone: str, output_stride: int
) -> None:
    """With the real library, also through Lightning, as its examples do, and after a round trip."""
    theirs = randomize(
        smp.DeepLabV3(
            backbone,
            encoder_weights=None,
            encoder_output_stride=output_stride,
            classes=4,
            aux_params={"classes": 3},
        )
    )
    lightning = {f"model.{name}": value for name, value in theirs.state_dict().items()}
    path = tmp_path / "own.ckpt"
    torch.save({"state_dict": {**lightning, "mean": torch.zeros(3)}, "epoch": 3}, path)

    preset, ours = trained_network(preset_of(backbone, 4, output_stride=output_stride), path)

    assert preset.variant == Variant(SMP)
    with torch.inference_mode():
        expected = theirs.segmentation_head[0](theirs.decoder(theirs.encoder(image)))
        assert_close(ours.eval()(image), expected)
        assert_close(rebuilt(preset, ours, tmp_path)(image), expected)
        plain = build_segmenter(backbone, 4, output_stride=output_stride).eval()
        plain.load_state_dict(ours.state_dict())
        assert difference(plain(image), expected) > 0.01  # the weights fit, the dilation does not
        load_checkpoint(plain, path)
        assert_close(plain(image), expected)


@pytest.mark.slow
def test_an_older_segmentation_models_pytorch(tmp_path: Path, image: Tensor) -> None:
    """Its decoder was a Sequential, whose names its own `load_state_dict` still knows."""
    theirs = randomize(smp.DeepLabV3("resnet18", encoder_weights=None, classes=4))
    old = {
        name.replace("decoder.aspp.", "decoder.0.")
        .replace("decoder.conv.", "decoder.1.")
        .replace("decoder.bn.", "decoder.2."): value
        for name, value in theirs.state_dict().items()
    }
    assert "decoder.0.convs.0.0.weight" in old
    assert "decoder.2.running_mean" in old
    torch.save(old, tmp_path / "old.pth")
    _, ours = trained_network(preset_of("resnet18", 4), tmp_path / "old.pth")
    with torch.inference_mode():
        expected = theirs.segmentation_head[0](theirs.decoder(theirs.encoder(image)))
        assert_close(ours.eval()(image), expected)


@pytest.mark.slow
def test_a_head_on_layer3_leaves_layer4_out(tmp_path: Path, image: Tensor) -> None:
    theirs = randomize(smp.DeepLabV3("resnet18", encoder_depth=4, encoder_weights=None, classes=4))
    torch.save(theirs.state_dict(), tmp_path / "own.pth")
    _, ours = trained_network(preset_of("resnet18", 4, features="layer3"), tmp_path / "own.pth")
    with torch.inference_mode():
        expected = theirs.segmentation_head[0](theirs.decoder(theirs.encoder(image)))
        assert_close(ours.eval()(image), expected)


@pytest.mark.parametrize(
    ("depth", "channels", "deep_stem"),
    [
        (18, 128, True),
        pytest.param(18, 256, False, marks=pytest.mark.slow),
        pytest.param(50, 512, True, marks=pytest.mark.slow),
    ],
)
def test_mmsegmentation(
    tmp_path: Path, image: Tensor, depth: int, channels: int, deep_stem: bool
) -> None:
    theirs = randomize(EncoderDecoder(depth, 7, channels, deep_stem))
    path = tmp_path / "iter_160000.pth"
    torch.save({"meta": {"mmseg_version": "1.2.2"}, "state_dict": theirs.state_dict()}, path)

    preset, ours = trained_network(preset_of(f"resnet{depth}", 7), path)

    assert preset.variant == Variant(MMSEG, deep_stem, channels)
    with torch.inference_mode():
        expected = theirs(image)
        assert_close(ours.eval()(image), expected)
        assert_close(rebuilt(preset, ours, tmp_path)(image), expected)
        assert_close(optimize_for_inference(ours, precision="fp32")(image), expected)


def test_mmsegmentations_auxiliary_head_is_torchvisions(tmp_path: Path) -> None:
    theirs = EncoderDecoder(18, 7, 128)
    torch.save(theirs.state_dict(), tmp_path / "own.pth")
    ours = build_segmenter("resnet18", 7, aux_head=True, variant=Variant(MMSEG, True, 128))
    load_checkpoint(ours, tmp_path / "own.pth")
    loaded, saved = ours.state_dict(), theirs.state_dict()
    for name, source in {
        "aux_classifier.0.weight": "auxiliary_head.convs.0.conv.weight",
        "aux_classifier.1.running_mean": "auxiliary_head.convs.0.bn.running_mean",
        "aux_classifier.4.bias": "auxiliary_head.conv_seg.bias",
    }.items():
        assert torch.equal(loaded[name], saved[source])


@pytest.mark.parametrize("build", [smp.DeepLabV3Plus, smp.Unet])
def test_another_network_of_theirs_is_named(
    tmp_path: Path, build: Callable[..., nn.Module]
) -> None:
    torch.save(build("resnet18", encoder_weights=None).state_dict(), tmp_path / "own.pth")
    with pytest.raises(
        CheckpointError, match="segmentation_models_pytorch, not DeepLabV3: it has decoder"
    ):
        trained_network(preset_of("resnet18", 2), tmp_path / "own.pth")


def test_another_head_of_mmsegmentation_is_named(tmp_path: Path) -> None:
    state = {"backbone.conv1.weight": torch.zeros(1), "decode_head.psp.0.weight": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match=r"not DeepLabV3 \(ASPPHead\): it has decode_head"):
        trained_network(preset_of("resnet18", 2), tmp_path / "own.pth")


def rebuilt(preset: Preset, net: nn.Module, folder: Path) -> nn.Module:
    """The network as a worker builds it, from the preset's file and the state dict alone."""
    dump_preset(preset, folder / "preset.yaml")
    fresh = build_network(load_preset(folder / "preset.yaml"))
    fresh.load_state_dict(net.state_dict())
    return fresh.eval()


def difference(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


def assert_close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert difference(actual, expected) <= TOLERANCE

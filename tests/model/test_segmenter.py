"""The network against torchvision's: same names, same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.models import segmentation
from torchvision.models.segmentation import DeepLabV3

from imaging import class_mask
from model import ASPP, ASPPConv, ASPPPooling, DeepLabHead, build_segmenter
from model.segmenter import BACKBONES
from tests.conftest import randomize


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101"])
@pytest.mark.slow
def test_torchvision_checkpoints_load_strictly_and_give_the_same_logits_and_masks(
    backbone: str,
) -> None:
    build: Callable[..., DeepLabV3] = getattr(segmentation, f"deeplabv3_{backbone}")
    theirs = randomize(build(weights=None, weights_backbone=None, num_classes=21, aux_loss=True))
    ours = build_segmenter(backbone, num_classes=21, aux_head=True).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)

    image = torch.randn(1, 3, 257, 389)
    with torch.inference_mode():
        features = theirs.backbone(image)
        expected, expected_aux = (
            theirs.classifier(features["out"]),
            theirs.aux_classifier(features["aux"]),
        )
        logits, aux = ours.forward_with_aux(image)
        assert_close_relative(ours(image), expected)
        assert_close_relative(logits, expected)
        assert_close_relative(aux, expected_aux)
        expected_mask = theirs(image)["out"].argmax(1)
        mask = class_mask(ours(image), size=(257, 389))
    assert len(expected_mask.unique()) > 1
    different = int((mask != expected_mask).sum())
    assert different <= 1e-4 * mask.numel(), f"{different} pixels differ: more than ties"


@pytest.mark.parametrize("features", ["layer3", "layer4"])
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize(
    "backbone",
    [
        name if name in ("resnet18", "resnet50") else pytest.param(name, marks=pytest.mark.slow)
        for name in BACKBONES
    ],
)
def test_every_backbone_keeps_its_output_stride_on_odd_sizes(
    backbone: str, output_stride: int, features: str
) -> None:
    net = build_segmenter(
        backbone, num_classes=5, features=features, output_stride=output_stride
    ).eval()
    with torch.inference_mode():
        logits = net(torch.randn(1, 3, 65, 97))
    assert logits.shape == (1, 5, -(-65 // output_stride), -(-97 // output_stride))


def test_dilating_a_basic_block_samples_what_the_strided_net_does() -> None:
    """Where the dilated map and the strided one look at the same place they are the same number.

    With stride s replaced by dilation s, output (s*i, s*j) of the dilated net reads exactly the
    inputs that output (i, j) of the strided net read: away from the border, every s-th cell agrees.
    """
    torch.manual_seed(0)
    strided = build_segmenter("resnet18", output_stride=16, features="layer3").eval().backbone
    dilated = build_segmenter("resnet18", output_stride=8, features="layer3").eval().backbone
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        coarse, fine = strided(image), dilated(image)
    border = 4  # cells of the coarse map whose receptive field leaves the image
    inner = slice(border, -border)
    torch.testing.assert_close(
        fine[:, :, ::2, ::2][:, :, inner, inner],
        coarse[:, :, inner, inner],
        rtol=1e-4,
        atol=1e-4,
    )


def test_contract_shapes() -> None:
    x = torch.randn(2, 32, 9, 13)
    assert ASPPConv(32, 7, dilation=3)(x).shape == (2, 7, 9, 13)
    assert ASPPPooling(32, 7)(x).shape == (2, 7, 9, 13)
    assert ASPP(32, (2, 4))(x).shape == (2, 256, 9, 13)
    assert DeepLabHead(32, 5)(x).shape == (2, 5, 9, 13)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"backbone": "vgg16"}, "vgg16.*resnet50"),
        ({"features": "layer2"}, "layer2.*layer3"),
        ({"output_stride": 4}, "4.*8 or 16"),
        ({"num_classes": 1}, "1.*at least 2"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        build_segmenter(**arguments)  # type: ignore[arg-type]


def test_the_auxiliary_head_is_asked_for() -> None:
    with pytest.raises(RuntimeError, match="aux_head=True"):
        build_segmenter("resnet18").forward_with_aux(torch.randn(1, 3, 33, 33))


def assert_close_relative(actual: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """Within `tolerance` of the largest logit: the bar of the parity ladder."""
    difference = (actual - expected).abs().max().item()
    scale = expected.abs().max().item()
    assert difference <= tolerance * scale, f"off by {difference:.2e} on a scale of {scale:.2e}"

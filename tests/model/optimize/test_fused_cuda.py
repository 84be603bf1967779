"""cuDNN's fused convolutions: their structure with stand-ins on the CPU, themselves on a GPU."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from model import build_segmenter
from model.optimize import equivalence, fused_cuda
from model.optimize.fold import fold_batch_norms, folded
from model.optimize.fused_cuda import (
    FusedBlock,
    FusedConv,
    FusedStem,
    fuse_convolutions,
    fuse_if_equivalent,
)
from model.optimize.image_level import replace_image_level
from model.segmenter import Segmenter
from tests.conftest import randomize

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def conv_relu(x: Tensor, weight: Tensor, bias: Tensor, *geometry: Any) -> Tensor:
    return torch.conv2d(x, weight, bias, *geometry).relu()


def conv_add_relu(
    x: Tensor, weight: Tensor, z: Tensor, alpha: float, bias: Tensor, *geometry: Any
) -> Tensor:
    return (torch.conv2d(x, weight, bias, *geometry) + alpha * z).relu()


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cuDNN's operators compute, on the CPU."""
    monkeypatch.setattr(torch, "cudnn_convolution_relu", conv_relu)
    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", conv_add_relu)
    monkeypatch.setattr(equivalence, "POISONED_BYTES", 16)
    monkeypatch.setattr(fused_cuda, "TYPICAL_SIDE", 65)


def folded_segmenter(backbone: str, **options: Any) -> Segmenter:
    net = randomize(build_segmenter(backbone, num_classes=5, **options))
    assert isinstance(net, Segmenter)
    fold_batch_norms(net.requires_grad_(False))
    replace_image_level(net.classifier)
    return net.to(memory_format=torch.channels_last)


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "resnext50_32x4d"])
@pytest.mark.parametrize("size", [(97, 97), (65, 129)])
def test_logits_are_those_of_the_modules(backbone: str, size: tuple[int, int]) -> None:
    net = folded_segmenter(backbone, features="layer3")
    fused = copy.deepcopy(net)
    fuse_convolutions(fused)
    image = torch.randn(2, 3, *size).to(memory_format=torch.channels_last)
    before = image.clone()
    with torch.inference_mode():
        expected, logits = net(image), fused(image)
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert torch.equal(image, before)


@pytest.mark.usefixtures("stand_ins")
def test_the_plain_network_keeps_its_modules_and_biases() -> None:
    net = folded_segmenter("resnet18", features="layer3")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fused = fuse_if_equivalent(net)
    assert fused is not net
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_only_convolutions_without_a_relu_are_left() -> None:
    net = folded_segmenter("resnet50")
    fuse_convolutions(net)
    kinds = Counter(type(module) for module in net.modules())
    # The stem, four shortcuts of another shape, and the logits.
    assert kinds[nn.Conv2d] == 6
    assert kinds[nn.ReLU] == kinds[nn.BatchNorm2d] == 0
    assert (kinds[FusedConv], kinds[FusedBlock], kinds[FusedStem]) == (55, 16, 1)


def test_the_shortcut_has_no_bias_of_its_own() -> None:
    net = folded_segmenter("resnet18")
    (block,) = (net.backbone.get_submodule("layer2.0"),)
    biases = [block.get_submodule(name).bias for name in ("conv2", "downsample.0")]
    fuse_convolutions(net)
    fused = net.backbone.get_submodule("layer2.0")
    assert isinstance(fused, FusedBlock)
    assert fused.shortcut.bias is None
    torch.testing.assert_close(fused.last.bias, biases[0] + biases[1])


def test_a_stem_that_pools_first_gives_the_same_bits() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        conv = nn.Conv2d(3, 16, 7, stride=2, padding=3, bias=True).to(dtype).requires_grad_(False)
        pool = nn.MaxPool2d(3, 2, 1)
        x = torch.randn(2, 3, 65, 97).to(dtype)
        stem = FusedStem(conv, pool)
        assert conv.bias is not None
        with torch.inference_mode():
            plain = conv.bias.view(1, -1, 1, 1) + stem.conv(x)
            assert torch.equal(stem(x), pool(plain.relu()))


NO_KERNELS = ("prim::device", "dropout")  # the latter is the identity in eval mode


class Trace(TorchDispatchMode):
    """Counts operators that a GPU would run; cuDNN's fused ones have no fake implementation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if not func.is_view and name not in NO_KERNELS:
            self.operators[name] += 1
        if name == "cudnn_convolution_relu":
            x, weight, bias, *geometry = args
        elif name == "cudnn_convolution_add_relu":
            x, weight, _, _, bias, *geometry = args
        else:
            return func(*args, **(kwargs or {}))
        stride, padding, dilation, groups = geometry
        return torch.ops.aten.conv2d.default(x, weight, bias, stride, padding, dilation, groups)


def trace(fuse: bool) -> Counter[str]:
    """The operators of a ResNet-50 segmenter's forward, as on a GPU."""
    net = folded(build_segmenter("resnet50"), torch.device("cpu"), torch.bfloat16)
    replace_image_level(net.classifier)
    if fuse:
        fuse_convolutions(net)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        net.to_empty(device="cuda")
        image = torch.empty(1, 3, 520, 520, dtype=torch.bfloat16, device="cuda")
        with Trace() as traced:
            logits = net(image.to(memory_format=torch.channels_last))
    assert logits.shape == (1, 21, 65, 65)
    return traced.operators


def test_fused_operators_are_half_as_many() -> None:
    plain, fused = trace(fuse=False), trace(fuse=True)
    assert plain["conv2d"] == 61
    assert plain["relu"] + plain["relu_"] == 56
    assert plain["add_"] == 16
    assert sum(plain.values()) >= 134
    assert sum(fused.values()) < 75, fused
    assert fused["cudnn_convolution_relu"] + fused["cudnn_convolution_add_relu"] == 55
    assert fused["cudnn_convolution_add_relu"] == 16


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize(
    "broken",
    [
        lambda x, weight, bias, *geometry: conv_relu(x, weight, 0 * bias, *geometry),
        lambda x, weight, bias, *geometry: conv_relu(x, weight, bias, *geometry) + torch.nan,
    ],
    ids=["another result", "NaN"],
)
def test_the_network_stays_plain_where_the_operators_are_wrong(
    broken: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    net = folded_segmenter("resnet18", features="layer3")
    monkeypatch.setattr(torch, "cudnn_convolution_relu", broken)
    assert fuse_if_equivalent(net) is net
    assert "the fused ones are off by" in caplog.text


@pytest.mark.usefixtures("stand_ins")
def test_a_network_whose_logits_are_not_finite_stays_plain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    net = folded_segmenter("resnet18", features="layer3")
    last = net.classifier[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    last.bias.data[0] = torch.inf
    assert fuse_if_equivalent(net) is net
    assert "the plain network's logits are not finite" in caplog.text


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError, NotImplementedError])
def test_the_network_stays_plain_where_the_operators_fail(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: object) -> Tensor:
        raise error("no engine")

    net = folded_segmenter("resnet18", features="layer3")
    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", failing)
    assert fuse_if_equivalent(net) is net
    assert "no engine" in caplog.text


@needs_cuda
@pytest.mark.parametrize(
    ("backbone", "dtype"),
    [
        ("resnet18", torch.bfloat16),
        ("resnet50", torch.bfloat16),
        ("resnet50", torch.float16),
        ("resnet50", torch.float32),
        ("resnext50_32x4d", torch.bfloat16),
    ],
)
def test_on_a_gpu_the_fused_network_is_equivalent(backbone: str, dtype: torch.dtype) -> None:
    cuda = torch.device("cuda")
    plain = randomize(build_segmenter(backbone, num_classes=5))
    stem = plain.backbone.get_submodule("bn1")
    assert isinstance(stem, nn.BatchNorm2d)
    # Random weights let the maps grow with the depth: to 87,000 in ResNet-50, where fp16 ends at
    # 65,504 and both networks give NaN.
    stem.weight.data /= 64
    stem.bias.data /= 64
    net = folded(plain, cuda, dtype)
    replace_image_level(net.classifier)
    fused = fuse_if_equivalent(net)
    assert fused is not net
    image = torch.randn(3, 3, 129, 193, device=cuda, dtype=dtype)
    image = image.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected, logits = net(image).float(), fused(image).float()
    assert (logits - expected).norm() <= 0.05 * expected.norm()

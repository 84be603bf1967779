"""The pyramid's products on a GPU: which branches take them, and what they compute."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from model import ASPPConv, DeepLabHead
from model.optimize import atrous_cuda, equivalence
from model.optimize.atrous import MIN_CHANNELS
from model.optimize.atrous_cuda import TapProductConv, is_equivalent, use_tap_products
from model.optimize.cuda_graphs import capture, memory_for_graphs
from model.optimize.fold import fold_batch_norms
from tests.conftest import randomize

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def sum_taps(products: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """What the kernel computes."""
    _, height, width, _, _ = products.shape
    padded = pad(products.float(), (0, 0, 0, 0, *[dilation] * 4))
    taps = [
        padded[:, i * dilation :, j * dilation :, 3 * i + j][:, :height, :width]
        for i in range(3)
        for j in range(3)
    ]
    return (sum(taps) + bias.float()).relu().to(products.dtype)


def use_kernel(monkeypatch: pytest.MonkeyPatch, kernel: Callable[..., Tensor]) -> None:
    module = SimpleNamespace(sum_taps=kernel)
    monkeypatch.setitem(sys.modules, "model.optimize.tap_sum_kernel", module)


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU with the kernel, as far as the choice of branches sees it."""
    use_kernel(monkeypatch, sum_taps)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(equivalence, "POISONED_BYTES", 16)
    monkeypatch.setattr(atrous_cuda, "TYPICAL_CELLS", 17)


def folded_head(channels: int = MIN_CHANNELS, dtype: torch.dtype = torch.bfloat16) -> DeepLabHead:
    head = randomize(DeepLabHead(channels, num_classes=5, atrous_rates=(2, 4, 6)))
    fold_batch_norms(head.requires_grad_(False))
    return head.to(dtype).to(memory_format=torch.channels_last)


def replaced(head: DeepLabHead) -> int:
    return sum(isinstance(module, TapProductConv) for module in head.modules())


@pytest.mark.slow
@pytest.mark.usefixtures("hopper")
def test_wide_branches_take_the_products() -> None:
    head = folded_head()
    x = torch.randn(2, MIN_CHANNELS, 9, 14).bfloat16().to(memory_format=torch.channels_last)
    expected = copy.deepcopy(head).float()(x.float())
    use_tap_products(head)
    assert replaced(head) == 3
    assert (head(x).float() - expected).norm() <= 0.02 * expected.norm()


@pytest.mark.usefixtures("hopper")
def test_products_round_once_in_fp32() -> None:
    conv = nn.Conv2d(24, 10, 3, padding=4, dilation=4).requires_grad_(False)
    x = torch.randn(2, 24, 6, 9)
    torch.testing.assert_close(TapProductConv(conv)(x), conv(x).relu(), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("hopper")
def test_other_branches_stay_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, single = folded_head(MIN_CHANNELS // 2), folded_head(dtype=torch.float32)
    for head in (narrow, single):
        use_tap_products(head)
        assert replaced(head) == 0
    ampere = folded_head()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    use_tap_products(ampere)
    assert replaced(ampere) == 0


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize(
    "broken",
    [
        lambda products, bias, dilation: sum_taps(products, bias, dilation - 1),
        lambda products, bias, dilation: sum_taps(products, bias, dilation) * torch.nan,
    ],
    ids=["another result", "NaN"],
)
@pytest.mark.slow
def test_branches_stay_convolutions_where_the_kernel_is_wrong(
    broken: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    use_kernel(monkeypatch, broken)
    head = folded_head()
    use_tap_products(head)
    assert replaced(head) == 0
    assert "products are off by" in caplog.text


@pytest.mark.usefixtures("hopper")
def test_branches_stay_convolutions_without_triton(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "model.optimize.tap_sum_kernel", None)
    head = folded_head()
    use_tap_products(head)
    assert replaced(head) == 0
    assert "as Triton fails" in caplog.text


@pytest.mark.usefixtures("hopper")
def test_branches_that_are_not_finite_stay_convolutions(caplog: pytest.LogCaptureFixture) -> None:
    head = folded_head()
    for parameter in head.parameters():
        parameter.data.fill_(torch.inf)
    use_tap_products(head)
    assert replaced(head) == 0
    assert "the plain output is not finite" in caplog.text


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dilation", [1, 12, 36])
def test_on_a_gpu_products_are_the_convolution(dtype: torch.dtype, dilation: int) -> None:
    branch = ASPPConv(2048, 256, dilation)
    fold_batch_norms(randomize(branch).requires_grad_(False))
    branch.to("cuda", dtype).to(memory_format=torch.channels_last)
    conv = branch[0]
    assert isinstance(conv, nn.Conv2d)
    products = TapProductConv(conv)
    assert is_equivalent(products, branch, conv)
    for shape in ((1, 2048, 65, 87), (3, 2048, 17, 33), (8, 2048, 65, 65)):
        x = torch.randn(shape, device="cuda", dtype=dtype).relu_()
        x = x.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            expected, y = branch(x).float(), products(x)
            replayed = capture(products, x, memory_for_graphs(x.device))(x)
        assert (y.float() - expected).norm() <= 0.02 * expected.norm()
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert (replayed - y).float().norm() <= 0.01 * expected.norm()

"""What model/optimize relies on and PyTorch does not promise: an upgrade may break any of it.

The code works without each of them, only slower, and the tests of the fast paths are then skipped.
So what is lost has to be noticed here. Each failure names the code that depends on it.
"""

from __future__ import annotations

import platform
from operator import attrgetter

import pytest
import torch

from model.optimize.fused_cpu import can_fuse
from model.optimize.precision import has_int8_products
from model.optimize.quantized_conv import can_quantize

is_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="PyTorch has oneDNN's operators on x86"
)


@is_x86
@pytest.mark.parametrize(
    "operator",
    [
        "mkldnn._reorder_convolution_weight",
        "mkldnn._convolution_pointwise",
        "mkldnn._convolution_pointwise_.binary",
    ],
)
def test_onednn_operators_exist(operator: str) -> None:
    try:
        attrgetter(operator)(torch.ops)
    except AttributeError:
        pytest.fail(f"torch.ops.{operator} is gone: model/optimize/fused_cpu.py fuses nothing")


@is_x86
def test_onednn_operators_take_our_arguments() -> None:
    assert can_fuse(torch.float32), "model/optimize/fused_cpu.py: the probe of its operators fails"


@is_x86
@pytest.mark.skipif(not has_int8_products(), reason="a processor without VNNI or AMX")
def test_int8_operators_take_our_arguments_and_are_right() -> None:
    assert can_quantize(), "model/optimize/quantized_conv.py: the probe of its operators fails"


@pytest.mark.parametrize("probe", ["_is_amx_tile_supported", "_is_avx512_bf16_supported"])
def test_processor_probes_exist(probe: str) -> None:
    assert isinstance(getattr(torch.cpu, probe, lambda: None)(), bool), (
        f"torch.cpu.{probe} is gone: model/optimize/precision.py never chooses bf16 on a CPU"
    )


@pytest.mark.parametrize("name", ["cudnn_convolution_relu", "cudnn_convolution_add_relu"])
def test_cudnn_operators_exist(name: str) -> None:
    assert hasattr(torch, name), f"torch.{name} is gone: model/optimize/fused_cuda.py fuses nothing"


@pytest.mark.skipif(torch.version.cuda is None, reason="a CPU build of PyTorch")
@pytest.mark.parametrize("name", ["_cuda_endAllocateToPool", "_cuda_releasePool"])
def test_the_allocator_can_be_told_that_a_capture_is_over(name: str) -> None:
    assert hasattr(torch._C, name), (
        f"torch._C.{name} is gone: model/optimize/cuda_graphs.py frees no memory after a capture "
        "that failed"
    )

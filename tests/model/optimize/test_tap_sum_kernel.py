"""The sum over taps without a GPU: its results in Triton's interpreter, and that it compiles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cubin import ARCHITECTURES, compile_kernel, resources

pytest.importorskip("triton")

# (batch, channels in, channels out, height, width, dilation)
CASES = {
    "odd sizes": (1, 24, 16, 7, 13, 2),
    "several images": (2, 24, 10, 6, 9, 4),
    "no power of two": (3, 8, 11, 5, 5, 1),
    "dilation at the map's side": (1, 24, 16, 6, 9, 6),
    "dilation larger than the map": (2, 24, 16, 6, 9, 40),
    "one cell": (1, 24, 16, 1, 1, 1),
}

INTERPRETED = """
import torch
from torch import nn
from model.optimize.atrous_cuda import TapProductConv

torch.manual_seed(0)
for name, (batch, channels, out, height, width, dilation) in CASES.items():
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.03)):
        conv = nn.Conv2d(channels, out, 3, padding=dilation, dilation=dilation).to(dtype)
        x = torch.randn(batch, channels, height, width).to(dtype)
        x = x.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            expected = conv.float()(x.float()).relu()
            y = TapProductConv(conv.to(dtype))(x)
        assert y.dtype == dtype, name
        assert y.is_contiguous(memory_format=torch.channels_last), name
        message = lambda text: f"{name}, {dtype}: {text}"
        torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance, msg=message)

with torch.inference_mode():
    x[0, 0, 0, 0] = torch.nan
    assert TapProductConv(conv)(x)[0, :, 0, 0].isnan().all(), "NaN stays NaN"
"""


@pytest.mark.slow
def test_in_the_interpreter_it_gives_the_plain_convolution() -> None:
    """Triton's interpreter runs the kernel in NumPy, on any machine."""
    result = subprocess.run(
        [sys.executable, "-c", f"CASES = {CASES!r}\n{INTERPRETED}"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TRITON_INTERPRET": "1"},  # read when Triton is imported
        stderr=subprocess.PIPE,
        text=True,
        timeout=600,
        check=False,
    )

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("dtype", ["*bf16", "*fp16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.slow
def test_it_compiles_for_gpus_that_are_not_here(
    architecture: int, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter is laxer about types than the compiler."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from model.optimize.tap_sum_kernel import BLOCK_CELLS, SIZES, _tap_sum_kernel

    types = {"products": dtype, "bias": dtype, "out": dtype, **dict.fromkeys(SIZES, "i32")}
    constants = {"channels": 256, "block_cells": BLOCK_CELLS, "block_channels": 256}
    cubin = compile_kernel(_tap_sum_kernel, types, constants, architecture)
    registers, stack = resources(cubin, tmp_path)
    assert registers <= 64  # so that all of a multiprocessor's threads are busy
    assert stack == 0

"""The Triton kernel without a GPU: what it computes, in the interpreter, and that it compiles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cubin import ARCHITECTURES, compile_kernel, resources

pytest.importorskip("triton")

CASES = {
    "channels_last": "noise(2, 7, 9, 13).to(memory_format=torch.channels_last), (5, 140)",
    "one node": "noise(1, 3, 1, 1), (3, 4)",
    "downsampling": "noise(1, 5, 30, 40), (4, 9)",
    "257 classes": "noise(1, 257, 4, 5), (9, 12)",
    "bf16": "noise(2, 7, 9, 13).bfloat16(), (20, 33)",
    "strided": "noise(2, 7, 9, 40)[..., 3:29:2], (20, 33)",
    "unaligned": "noise(3, 7, 3, 5).split(1)[1], (20, 33)",
    "a class that -inf excludes": "with_value(-torch.inf), (40, 60)",
    "infinite logits": "with_value(torch.inf), (40, 60)",
    "NaN": "with_value(torch.nan), (40, 60)",
}

INTERPRETED = """
import torch
from imaging.mask.bilinear import HUGE
from imaging.mask.class_mask import class_mask_and_confidence_plain
from imaging.mask.triton_kernel import label_pixels

generator = torch.Generator().manual_seed(0)


def noise(*shape):
    return torch.randn(shape, generator=generator)


def with_value(value):
    logits = noise(1, 5, 9, 13)
    logits[:, 2, 3:6, 4:9] = value
    return logits


CASES = {cases}
for name, (logits, size) in CASES.items():
    finite = logits.float().nan_to_num(nan=-HUGE, posinf=HUGE, neginf=-HUGE)
    expected, expected_confidence = class_mask_and_confidence_plain(finite, size)
    mask, confidence = label_pixels(logits, size, expected.dtype, with_confidence=True)
    assert (mask != expected).sum() <= (name == "bf16"), name  # bf16 has ties
    assert (confidence.int() - expected_confidence.int()).abs().max() <= 1, name
    mask, confidence = label_pixels(logits, size, torch.int32, with_confidence=False)
    assert (mask != expected.int()).sum() <= (name == "bf16"), name
    assert confidence.numel() == 0, name
"""


@pytest.mark.slow
def test_in_the_interpreter_it_gives_the_plain_masks() -> None:
    """Triton's interpreter runs the kernel in NumPy, on any machine."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}  # read when Triton is imported
    cases = "{" + "".join(f"{name!r}: ({case}), " for name, case in CASES.items()) + "}"

    result = subprocess.run(
        [sys.executable, "-c", INTERPRETED.replace("{cases}", cases)],
        cwd=Path(__file__).parents[3],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=600,
        check=False,
    )

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("with_confidence", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.slow
def test_it_compiles_for_gpus_that_are_not_here(
    architecture: int, with_confidence: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter is laxer about types than the compiler."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    cubin = compiled(architecture, "*fp32", "*u8", with_confidence)
    registers, stack = resources(cubin, tmp_path)
    assert registers <= 64  # so that all of a multiprocessor's threads are busy
    assert stack == 0


def test_it_compiles_for_other_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    assert compiled(90, "*bf16", "*i32", True)


def compiled(architecture: int, logits: str, mask: str, with_confidence: bool) -> bytes:
    """The kernel's machine code for these types of tensors."""
    from imaging.mask.triton_kernel import BLOCK_COLUMNS, BLOCK_ROWS, SIZES, _label_kernel

    types = {
        **{"logits": logits, "mask": mask, "confidence": "*u8"},
        **dict.fromkeys(SIZES, "i32"),
        **{"scale_y": "fp32", "scale_x": "fp32"},
    }
    constants = {"with_confidence": with_confidence, "rows": BLOCK_ROWS, "columns": BLOCK_COLUMNS}
    return compile_kernel(_label_kernel, types, constants, architecture)

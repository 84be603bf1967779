"""Triton kernels compiled for GPUs that are not here."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ARCHITECTURES = (75, 80, 89, 90, 100, 120)  # compute capabilities: Turing to Blackwell


def compile_kernel(
    kernel: Any, types: Mapping[str, str], constants: Mapping[str, object], architecture: int
) -> bytes:
    """The kernel's machine code, as for tensors that are aligned to 16 bytes.

    `types` has the type of each parameter in order, as Triton spells it; the constants come last.
    """
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    pointers = [index for index, name in enumerate(types.values()) if name.startswith("*")]
    source = ASTSource(
        kernel,
        {**types, **dict.fromkeys(constants, "constexpr")},
        constexprs=dict(constants),
        attrs={(index,): [["tt.divisibility", 16]] for index in pointers},
    )
    code: bytes = compile(source, target=GPUTarget("cuda", architecture, 32)).asm["cubin"]
    return code


def resources(cubin: bytes, folder: Path) -> tuple[int, int]:
    """Registers a thread and bytes of stack, by the cuobjdump that Triton brings."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        pytest.skip("this Triton has no cuobjdump")
    file = folder / "kernel.cubin"
    file.write_bytes(cubin)
    usage = subprocess.run(
        [tool, "--dump-resource-usage", file], capture_output=True, text=True, check=True
    ).stdout
    match = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert match is not None, usage
    return int(match[1]), int(match[2])

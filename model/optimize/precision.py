"""The number formats that a network can be served in, and which of them a device is fast at."""

from __future__ import annotations

import torch

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of a key of PRECISIONS, or of "auto": what `fast_precision` recommends.

    ValueError names any other value.
    """
    if precision == "auto":
        precision = fast_precision(device)
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; expected 'auto', 'fp32', 'bf16' or 'fp16'")
    return PRECISIONS[precision]


def fast_precision(device: torch.device) -> str:
    """The key of PRECISIONS that the device multiplies fastest.

    "bf16" on x86 with AMX tiles or AVX512-BF16, and on NVIDIA GPUs from compute capability 8.0
    (Ampere) on. "fp16" on those of 7.x (Volta, Turing), whose tensor cores have no bf16; it ends at
    65504, and a network that exceeds it gives NaN. Otherwise "fp32".
    """
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return "bf16" if major >= 8 else "fp16" if major == 7 else "fp32"
    if device.type == "cpu":
        # Private names, in torch since 2.6; without them it is fp32, which is right anywhere.
        probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        if any(getattr(torch.cpu, probe, bool)() for probe in probes):
            return "bf16"
    return "fp32"

"""The number formats that a network can be served in, and which of them a device is fast at."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from model.optimize.quantized_conv import can_quantize

logger = logging.getLogger(__name__)

# Those that are a dtype of the whole network. "int8" is not: its maps are uint8, its first layer is
# in one of these.
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Of /proc/cpuinfo: instructions that sum products of uint8 and int8 in 32 bits.
INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
CPU_INFO = Path("/proc/cpuinfo")


def choose_precision(precision: str, device: torch.device, calibrated: bool) -> str:
    """The precision to serve in: a key of PRECISIONS or "int8".

    "auto" is "int8" where the network is `calibrated` and the processor multiplies int8 fast, else
    what `fast_precision` recommends. So is "int8" where it does not work; the log then says why.
    ValueError names any other value, and "int8" without a calibration.
    """
    if precision not in (*PRECISIONS, "int8", "auto"):
        raise ValueError(
            f"precision is {precision!r}; expected 'auto', 'int8', 'fp32', 'bf16' or 'fp16'"
        )
    if precision in PRECISIONS:
        return precision
    if precision == "int8" and not calibrated:
        raise ValueError("precision is 'int8', which needs a calibration, and there is none")
    fallback = fast_precision(device)
    if not calibrated or (precision == "auto" and device.type != "cpu"):
        return fallback
    obstacle = why_not_int8(device)
    if precision == "auto" and not obstacle and not has_int8_products():
        obstacle = "the processor has no instructions for it"
    if obstacle:
        logger.warning("the network runs in %s instead of int8: %s", fallback, obstacle)
        return fallback
    return "int8"


def why_not_int8(device: torch.device) -> str | None:
    """Why an int8 network does not run on the device; None if it does."""
    if device.type != "cpu":
        return "int8 is for CPUs"
    if not can_quantize():
        return "this PyTorch has no int8 convolutions that are right on this processor"
    return None


def has_int8_products() -> bool:
    """Whether the CPU multiplies int8 faster than floats: VNNI, of AVX-512 or AVX2, or AMX."""
    # Private names, in torch since 2.6; they do not know VNNI of AVX2.
    probes = ("_is_vnni_supported", "_is_amx_tile_supported")
    if any(getattr(torch.cpu, probe, bool)() for probe in probes):
        return True
    try:
        info = CPU_INFO.read_text()
    except OSError:  # not Linux
        return False
    flags = next((line for line in info.splitlines() if line.startswith("flags")), "")
    return not INT8_FLAGS.isdisjoint(flags.split())


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

"""The precision that a device is fast at."""

from __future__ import annotations

import pytest
import torch

from model.optimize.precision import fast_precision, resolve_precision

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        ((6, 1), "fp32"),  # Pascal: no tensor cores
        ((7, 0), "fp16"),  # V100
        ((7, 5), "fp16"),  # T4
        ((8, 0), "bf16"),
        ((8, 9), "bf16"),
        ((9, 0), "bf16"),
        ((12, 0), "bf16"),
    ],
)
def test_a_gpu_by_its_tensor_cores(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert fast_precision(CUDA) == precision


@pytest.mark.parametrize("probe", ["_is_amx_tile_supported", "_is_avx512_bf16_supported"])
def test_a_processor_by_its_instructions(probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == probe, raising=False)
    assert fast_precision(torch.device("cpu")) == "bf16"
    monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)
    assert fast_precision(torch.device("cpu")) == "fp32"


def test_devices_that_are_not_known_use_fp32() -> None:
    assert fast_precision(torch.device("meta")) == "fp32"


def test_names_stand_for_dtypes() -> None:
    dtypes = [resolve_precision(name, CUDA) for name in ("fp32", "bf16", "fp16")]
    assert dtypes == [torch.float32, torch.bfloat16, torch.float16]

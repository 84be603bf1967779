"""The precision that a device is fast at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.optimize import precision as module
from model.optimize.precision import choose_precision, fast_precision, has_int8_products

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


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


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_what_is_named_is_taken(name: str) -> None:
    assert choose_precision(name, CPU, calibrated=False) == name
    assert choose_precision(name, CPU, calibrated=True) == name


def no_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str = "") -> None:
    """A processor of which PyTorch knows nothing, and Linux these flags."""
    for name in ("_is_vnni_supported", "_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor : 0\nflags : fpu avx512f {flags}\n")
    monkeypatch.setattr(module, "CPU_INFO", info)


@pytest.mark.parametrize("flag", ["avx512_vnni", "avx_vnni", "amx_int8"])
def test_int8_products_by_the_flags_of_linux(
    flag: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_flags(monkeypatch, tmp_path)
    assert not has_int8_products()
    no_flags(monkeypatch, tmp_path, flag)
    assert has_int8_products()
    monkeypatch.setattr(module, "CPU_INFO", tmp_path / "none")  # not Linux
    assert not has_int8_products()


@pytest.mark.parametrize("probe", ["_is_vnni_supported", "_is_amx_tile_supported"])
def test_int8_products_by_pytorch(
    probe: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_flags(monkeypatch, tmp_path)
    monkeypatch.setattr(torch.cpu, probe, lambda: True, raising=False)
    assert has_int8_products()


def test_auto_is_int8_only_with_a_calibration_and_where_it_is_fast_and_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "can_quantize", lambda: True)
    no_flags(monkeypatch, tmp_path, "avx512_vnni")
    assert choose_precision("auto", CPU, calibrated=True) == "int8"
    assert choose_precision("auto", CPU, calibrated=False) == "fp32"
    assert not caplog.records
    no_flags(monkeypatch, tmp_path)
    assert choose_precision("auto", CPU, calibrated=True) == "fp32"
    assert "fp32 instead of int8: the processor has no instructions for it" in caplog.text
    assert choose_precision("int8", CPU, calibrated=True) == "int8"  # slow, but right
    caplog.clear()
    monkeypatch.setattr(module, "can_quantize", lambda: False)
    for name in ("auto", "int8"):
        assert choose_precision(name, CPU, calibrated=True) == "fp32"
        assert "that are right on this processor" in caplog.text
        assert len(caplog.records) == 1
        caplog.clear()


def test_a_gpu_is_not_for_int8(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert choose_precision("auto", CUDA, calibrated=True) == "bf16"
    assert not caplog.records
    assert choose_precision("int8", CUDA, calibrated=True) == "bf16"
    assert "bf16 instead of int8: int8 is for CPUs" in caplog.text


def test_int8_needs_a_calibration() -> None:
    with pytest.raises(ValueError, match="needs a calibration"):
        choose_precision("int8", CPU, calibrated=False)

"""The worker's device, and its share of the cores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from model.optimize.cuda_errors import is_out_of_memory
from serving.runtime.device import (
    EXIT_DEVICE_LOST,
    download,
    largest_group,
    pick_device,
    share_cores,
    upload,
    usable_cores,
)

CPU = torch.device("cpu")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_without_an_assigned_gpu_it_is_the_cpu() -> None:
    assert pick_device(None) == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_torch_does_not_see_is_none() -> None:
    assert pick_device(0) == CPU


@pytest.mark.parametrize(("workers", "share"), [(1, 6), (2, 3), (4, 1), (100, 1), (0, 6)])
def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch, workers: int, share: int) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert share_cores(workers) == share
    assert torch.get_num_threads() == share


def test_an_operators_number_of_threads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    torch.set_num_threads(3)  # as PyTorch does when it starts under this variable
    assert share_cores(2) == torch.get_num_threads() == 3


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("900000 100000\n", 6),
        ("max 100000\n", 6),
        ("", 6),
        (None, 6),
    ],
)
def test_a_containers_limit_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_no_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as no_memory:
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(RuntimeError) as mistake:
        torch.ones(2) @ torch.ones(3)
    assert is_out_of_memory(no_memory.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.cuda.OutOfMemoryError())
    assert not is_out_of_memory(mistake.value)
    assert not is_out_of_memory(KeyError("can't allocate memory"))


@pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda"), marks=needs_cuda)])
def test_images_go_up_as_one_batch(device: torch.device) -> None:
    images = [torch.randint(256, (3, 5, 7), dtype=torch.uint8) for _ in range(3)]
    batch = upload(images, device)
    assert batch.device.type == device.type
    assert torch.equal(batch.cpu(), torch.stack(images))


@pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda"), marks=needs_cuda)])
def test_masks_come_down_unchanged(device: torch.device) -> None:
    mask = torch.randint(256, (5, 7), dtype=torch.uint8)
    assert (download(mask.to(device)) == mask.numpy()).all()


def test_a_gpus_mask_comes_through_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the calls, on any machine: allocate pinned, copy, wait, read."""
    events: list[object] = []

    class Pinned:
        def copy_(self, values: object, *, non_blocking: bool) -> None:
            events.append(("copy", values, non_blocking))

        def numpy(self) -> str:
            return "array"

    def empty(shape: object, *, dtype: object, pin_memory: bool) -> Pinned:
        events.append(("empty", shape, dtype, pin_memory))
        return Pinned()

    stream = SimpleNamespace(synchronize=lambda: events.append("synchronize"))
    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    mask = SimpleNamespace(device=torch.device("cuda"), shape=(5, 7), dtype=torch.uint8)
    assert download(mask) == "array"  # type: ignore[arg-type]
    assert events == [("empty", (5, 7), torch.uint8, True), ("copy", mask, True), "synchronize"]


LOST = """
import torch
from serving.runtime import device

def synchronize(_):
    raise RuntimeError("CUDA error: device-side assert triggered")

torch.cuda.synchronize = synchronize
device.exit_if_lost(torch.device("cpu"))
print("a CPU cannot be lost", flush=True)
device.exit_if_lost(torch.device("cuda:0"))
print("still running")
"""


def test_a_worker_exits_when_its_gpu_is_lost() -> None:
    result = subprocess.run(
        [sys.executable, "-c", LOST],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == EXIT_DEVICE_LOST == 69
    assert result.stdout == "a CPU cannot be lost\n"
    assert "device-side assert" in result.stderr


def test_a_gpu_takes_the_whole_batch_and_a_cpu_four() -> None:
    assert largest_group(CPU, 8) == 4
    assert largest_group(torch.device("cuda"), 8) == 8

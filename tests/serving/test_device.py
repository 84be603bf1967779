"""The worker's device, and its share of the cores."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from serving.device import largest_group, pick_device, share_cores, upload

CPU = torch.device("cpu")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_without_a_gpu_from_torchserve_it_is_the_cpu() -> None:
    assert pick_device(None) == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_torch_does_not_see_is_none() -> None:
    assert pick_device(0) == CPU


@pytest.mark.parametrize(("workers", "share"), [(1, 6), (2, 3), (4, 1), (100, 1), (0, 6)])
def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch, workers: int, share: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert share_cores(workers) == share
    assert torch.get_num_threads() == share


@pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda"), marks=needs_cuda)])
def test_images_go_up_as_one_batch(device: torch.device) -> None:
    images = [torch.randint(256, (3, 5, 7), dtype=torch.uint8) for _ in range(3)]
    batch = upload(images, device)
    assert batch.device.type == device.type
    assert torch.equal(batch.cpu(), torch.stack(images))


def test_a_gpu_takes_the_whole_batch_and_a_cpu_four() -> None:
    assert largest_group(CPU) == 4
    assert largest_group(torch.device("cuda")) > 1000

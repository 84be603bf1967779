"""The memory of workers on a GPU, computed without one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from model import build_segmenter
from scripts.bench.gpu_memory import MIB, WorkerMemory, main, peak_bytes, worker_memory

# Section `shapes` of scripts.bench_gpu, ResNet-50 in bf16, H100, PyTorch 2.11: MiB in tensors after
# optimisation; then, with the graphs of the common sizes, in tensors, reserved, and in use on the
# device.
WEIGHTS = 77
TENSORS = 257
RESERVED = 2272
USED = 2988


@pytest.fixture(scope="module")
def resnet50() -> WorkerMemory:
    with torch.device("meta"):
        return worker_memory(build_segmenter("resnet50"))


def test_it_agrees_with_what_was_measured(resnet50: WorkerMemory) -> None:
    assert resnet50.weights == pytest.approx(WEIGHTS * MIB, rel=0.02)
    assert resnet50.weights + resnet50.graph_tensors == pytest.approx(TENSORS * MIB, rel=0.05)
    assert RESERVED * MIB <= resnet50.after_warm_up <= 1.2 * RESERVED * MIB
    assert USED * MIB <= resnet50.after_warm_up + resnet50.context <= 1.15 * USED * MIB


def test_other_sizes_and_dtypes(resnet50: WorkerMemory) -> None:
    with torch.device("meta"):
        net = build_segmenter("resnet50")
    small = worker_memory(net, [(64, 96), (96, 64)])
    fp32 = worker_memory(net, [(64, 96)], torch.float32)
    assert small.weights == resnet50.weights
    assert fp32.weights == 2 * small.weights
    assert small.graph_pool == small.other_shapes < resnet50.other_shapes  # one number of pixels
    assert small.graph_tensors == 2 * 15 * (3 * 64 * 96 + 4 * 21 * 8 * 12)  # 8 + 4 + 2 + 1 images
    assert small.total == small.after_warm_up + small.other_shapes + small.context


def test_the_peak_counts_each_block_while_it_is_in_use() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.repeat(3)  # 300 bytes
            y.add_(1)
            z = y.view(10, -1)[:5] + 1  # 150 more
            del y
            return z.repeat(2, 1)  # 300 in the place of 300

    assert peak_bytes(Net(), torch.zeros(100, dtype=torch.uint8)) == 450


def test_the_table_has_a_row_for_each_network(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.endswith("| 1 worker | 2 workers | 4 workers |")
    assert [row.split("|")[1].strip() for row in rows] == ["resnet18", "resnet50", "resnet101"]
    one, two, four = (int(cell) for cell in rows[1].split("|")[-4:-1])
    assert two == pytest.approx(2 * one, abs=1)
    assert four == pytest.approx(4 * one, abs=2)

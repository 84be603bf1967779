"""Which shapes are captured, and that a replay gives what the network gives."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from model import build_segmenter, optimize_for_inference
from model.optimize import cuda_graphs as graphs
from model.optimize.cuda_graphs import MAX_GRAPHS, Forward, Replayed, capture, memory_for_graphs
from tests.conftest import randomize

CPU = torch.device("cpu")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Doubling(nn.Module):
    """2 x, and how often it ran."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return 2 * x


def replayed(net: nn.Module) -> Replayed:
    return Replayed(net, CPU)


def images(size: int) -> Tensor:
    return torch.ones(size, 3, 1, 1)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Counter[torch.Size]:
    """Shapes that were captured, by a capture that computes 3 x, to be told from the network."""
    shapes: Counter[torch.Size] = Counter()

    def tripling(net: nn.Module, x: Tensor, memory: object) -> Forward:
        shapes[x.shape] += 1
        return lambda x: 3 * x

    monkeypatch.setattr(graphs, "capture", tripling)
    return shapes


def test_a_shape_is_captured_when_it_comes_again(captured: Counter[torch.Size]) -> None:
    net = replayed(Doubling())
    answers = [float(net(images(2)).mean()) for _ in range(4)]
    assert answers == [2, 3, 3, 3]
    assert captured == {images(2).shape: 1}


def test_a_shape_that_came_once_displaces_no_graph(captured: Counter[torch.Size]) -> None:
    net = replayed(Doubling())
    for size in (1, 1, *range(2, 500)):
        net(images(size))
    assert list(net.graphs) == [images(1).shape]


def test_the_graph_that_was_not_used_for_longest_goes(captured: Counter[torch.Size]) -> None:
    net = replayed(Doubling())
    for size in range(MAX_GRAPHS):
        net(images(size))
        net(images(size))
    net(images(0))  # used, so that 1 is the oldest
    for _ in range(2):
        net(images(1000))
    assert len(net.graphs) == MAX_GRAPHS
    assert images(0).shape in net.graphs
    assert images(1).shape not in net.graphs


def test_where_a_capture_fails_all_goes_on_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def failing(net: nn.Module, x: Tensor, memory: object) -> Forward:
        tries.append(x)
        raise torch.cuda.OutOfMemoryError("simulated")

    monkeypatch.setattr(graphs, "capture", failing)
    plain = Doubling()
    net = replayed(plain)
    assert [float(net(images(2)).mean()) for _ in range(5)] == [2] * 5
    assert plain.calls == 5
    assert len(tries) == 1
    assert "no CUDA graph of (2, 3, 1, 1)" in caplog.text


def test_where_memory_runs_out_the_graphs_go_first(captured: Counter[torch.Size]) -> None:
    class Full(Doubling):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 2 and net.graphs:
                raise torch.cuda.OutOfMemoryError("simulated")
            return super().forward(x)

    net = replayed(Full())
    for _ in range(2):
        net(images(1))
    assert len(net.graphs) == 1
    assert net(images(3)).mean() == 2
    assert not net.graphs


def test_a_cpu_has_no_graphs() -> None:
    net = build_segmenter("resnet18", num_classes=3)
    assert not isinstance(optimize_for_inference(net, CPU), Replayed)


@needs_cuda
def test_a_replay_gives_what_the_network_gives() -> None:
    cuda = torch.device("cuda")
    net = randomize(build_segmenter("resnet18", num_classes=3)).eval()
    fast = optimize_for_inference(net, cuda)
    assert isinstance(fast, Replayed)
    inputs = [torch.randn(2, 3, 65, 97, device=cuda) for _ in range(4)]
    replayed = [fast(x) for x in inputs]
    assert len(fast.graphs) == 1
    for x, logits in zip(inputs, replayed):
        expected = fast.net(x)
        assert (logits - expected).norm() <= 0.02 * expected.norm()


@needs_cuda
def test_an_answer_outlives_the_next_replay() -> None:
    x, y = torch.randn(2, 8, device="cuda")
    replay = capture(Doubling(), x, memory_for_graphs(x.device))
    first = replay(x)
    replay(y)
    assert torch.equal(first, 2 * x)

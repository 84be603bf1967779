"""Which shapes are captured, in which order that happens, and that a replay gives the net's output.

A fake `torch.cuda` records a capture's operators on the CPU and runs them again at its replay.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from model import build_segmenter, optimize_for_inference
from model.optimize import cuda_graphs, optimize_for_pixels
from model.optimize.cuda_errors import is_out_of_memory
from model.optimize.cuda_graphs import (
    CAPTURE_INTERVAL,
    FIRST_BACK_OFF,
    LONGEST_BACK_OFF,
    MAX_GRAPHS,
    PART_SIZES,
    CUDAGraphRunner,
    Forward,
    GraphMemory,
    capture,
    graph_counters,
    memory_for_graphs,
    part_sizes,
    warm_up,
)
from tests.conftest import randomize

CPU = torch.device("cpu")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Doubling(nn.Module):
    """2 x, and how often it ran."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return 2 * x


def runner(net: nn.Module) -> CUDAGraphRunner:
    return CUDAGraphRunner(net, CPU, torch.float32)


def images(width: int, batch: int = 1) -> Tensor:
    return torch.ones(batch, 3, 1, width)


class Clock:
    """Seconds that only pass when a test says so; by default, enough for the next capture."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.step = 2 * CAPTURE_INTERVAL

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cuda_graphs, "monotonic", clock)
    return clock


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Counter[torch.Size]:
    """Shapes that were captured, by a capture that computes 3 x, to be told from the network."""
    shapes: Counter[torch.Size] = Counter()

    def tripling(net: nn.Module, x: Tensor, memory: object) -> Forward:
        shapes[x.shape] += 1
        return lambda x: 3 * x

    monkeypatch.setattr(cuda_graphs, "capture", tripling)
    return shapes


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [(1, [1]), (2, [2]), (3, [2, 1]), (7, [4, 2, 1]), (8, [8]), (13, [8, 4, 1]), (32, [8] * 4)],
)
def test_batches_are_split_into_parts_of_few_sizes(batch: int, sizes: list[int]) -> None:
    assert part_sizes(batch) == sizes


def test_the_parts_logits_are_those_of_the_batch(captured: Counter[torch.Size]) -> None:
    net = runner(Doubling())
    x = torch.randn(15, 3, 2, 2)
    assert torch.equal(net(x), 2 * x)
    assert torch.equal(net(x), 3 * x)
    assert sorted(shape[0] for shape in captured) == [1, 2, 4, 8]
    assert net.counters.captures == net.counters.replays == net.counters.fallbacks == 4


def test_a_shape_is_captured_when_it_comes_again(captured: Counter[torch.Size]) -> None:
    net = runner(Doubling())
    outputs = [float(net(images(2)).mean()) for _ in range(4)]
    assert outputs == [2, 3, 3, 3]
    assert captured == {images(2).shape: 1}


def test_a_shape_that_came_once_displaces_no_graph(captured: Counter[torch.Size]) -> None:
    net = runner(Doubling())
    for width in (1, 1, *range(2, 500)):
        net(images(width))
    assert list(net.graphs) == [images(1).shape]


def test_the_least_recently_used_graph_is_evicted(captured: Counter[torch.Size]) -> None:
    net = runner(Doubling())
    for width in range(MAX_GRAPHS):
        net(images(width))
        net(images(width))
    net(images(0))  # used, so that 1 is the oldest
    assert net.counters.evictions == 0
    for _ in range(2):
        net(images(1000))
    assert len(net.graphs) == MAX_GRAPHS
    assert images(0).shape in net.graphs
    assert images(1).shape not in net.graphs
    assert net.counters.evictions == 1


def test_requests_do_not_wait_for_one_capture_after_another(
    captured: Counter[torch.Size], clock: Clock
) -> None:
    clock.step = 0
    net = runner(Doubling())
    for width in (1, 2, 3, 1, 2, 3):
        net(images(width))
    assert list(captured) == [images(1).shape]
    clock.now += CAPTURE_INTERVAL
    for width in (2, 3):
        net(images(width))
    assert list(captured) == [images(1).shape, images(2).shape]


def test_usual_sizes_are_captured_before_the_first_request(
    captured: Counter[torch.Size], clock: Clock
) -> None:
    clock.step = 0
    net = runner(Doubling())
    warm_up(net, [(1, 5), (2, 4), (1, 5)])
    assert captured == {
        torch.Size((batch, 3, *size)): 1 for size in ((1, 5), (2, 4)) for batch in PART_SIZES
    }
    assert net(images(5, batch=4)).mean() == 3
    assert net.counters.fallbacks == 0


def test_a_warm_up_evicts_nothing(captured: Counter[torch.Size]) -> None:
    net = runner(Doubling())
    warm_up(net, [(1, width) for width in range(1, MAX_GRAPHS)])
    assert len(net.graphs) == MAX_GRAPHS
    assert net.counters.evictions == 0
    assert images(1).shape in net.graphs


def test_a_warm_up_ends_where_a_capture_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Tensor] = []

    def failing(net: nn.Module, x: Tensor, memory: object) -> Forward:
        tries.append(x)
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(cuda_graphs, "capture", failing)
    warm_up(runner(Doubling()), [(1, 5), (2, 4)])
    assert len(tries) == 1


def test_a_failed_capture_is_tried_again_later_and_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    clock.step = 0
    tries: list[float] = []
    broken = True

    def failing(net: nn.Module, x: Tensor, memory: object) -> Forward:
        tries.append(clock.now)
        if broken:
            raise torch.cuda.OutOfMemoryError("simulated")
        return lambda x: 3 * x

    monkeypatch.setattr(cuda_graphs, "capture", failing)
    plain = Doubling()
    net = runner(plain)
    assert [float(net(images(2)).mean()) for _ in range(5)] == [2] * 5
    assert plain.calls == 5
    assert len(tries) == 1
    assert "no CUDA graph of (1, 3, 1, 2)" in caplog.text

    end = clock.now + 6 * LONGEST_BACK_OFF
    while clock.now < end:
        clock.now += FIRST_BACK_OFF / 2
        net(images(2))
    gaps = [after - before for before, after in zip(tries, tries[1:])]
    assert gaps == sorted(gaps)
    assert gaps[0] == FIRST_BACK_OFF
    assert gaps[1] == 2 * FIRST_BACK_OFF
    assert gaps[-1] == LONGEST_BACK_OFF
    assert net.counters.failures == len(tries)

    broken = False
    clock.now += LONGEST_BACK_OFF
    assert net(images(2)).mean() == 3
    assert net.counters.captures == 1
    assert net.back_off == FIRST_BACK_OFF


def test_a_failed_capture_keeps_the_graphs_there_are(
    captured: Counter[torch.Size], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = runner(Doubling())
    for _ in range(2):
        net(images(1))

    def failing(net: nn.Module, x: Tensor, memory: object) -> Forward:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graphs, "capture", failing)
    for _ in range(2):
        assert net(images(2)).mean() == 2
    assert net(images(1)).mean() == 3


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("simulated"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_where_memory_runs_out_the_graphs_go_first(
    error: Exception, captured: Counter[torch.Size]
) -> None:
    class Full(Doubling):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] > 2 and net.graphs:
                raise error
            return super().forward(x)

    net = runner(Full())
    for _ in range(2):
        net(images(1))
    assert len(net.graphs) == 1
    assert net(images(3)).mean() == 2
    assert not net.graphs
    assert net.counters.evictions == 1


def test_other_errors_cost_no_graph(captured: Counter[torch.Size]) -> None:
    class Broken(Doubling):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] > 2:
                raise RuntimeError("CUDA error: device-side assert triggered")
            return super().forward(x)

    net = runner(Broken())
    for _ in range(2):
        net(images(1))
    with pytest.raises(RuntimeError, match="device-side assert"):
        net(images(3))
    assert len(net.graphs) == 1


def test_a_cpu_has_no_graphs() -> None:
    net = build_segmenter("resnet18", num_classes=3)
    fast = optimize_for_inference(net, CPU)
    assert not isinstance(fast, CUDAGraphRunner)
    assert graph_counters(fast) is None
    warm_up(fast, [(4, 4)])
    assert memory_for_graphs(CPU) is None


class FakeStream:
    """Logs what is waited for."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name = name
        self.events = events

    def wait_stream(self, other: FakeStream) -> None:
        self.events.append(f"{self.name} waits for {other.name}")


class FakeGraph(TorchDispatchMode):
    """The operators that ran while it was captured; a replay writes where they wrote."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launches: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        self.launches.append((func, args, kwargs or {}, output))
        return output

    def replay(self) -> None:
        for func, args, kwargs, output in self.launches:
            output.copy_(func(*args, **kwargs))


class FakeGenerator:
    """A random generator's state, which a capture holds until it ends."""

    def __init__(self) -> None:
        self.captured = False

    def clone_state(self) -> FakeGenerator:
        return FakeGenerator()

    def graphsafe_set_state(self, other: FakeGenerator) -> None:
        self.captured = other.captured


class FakeCUDA:
    """The ten names of torch.cuda that graphs need.

    Its allocators, of memory on the GPU and of page-locked memory, end captures as PyTorch's do:
    an invalid one stays underway in both, and only the first can be told.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.pools = 0
        self.underway: set[object] = set()
        self.underway_on_host: set[object] = set()
        self.generator = FakeGenerator()
        self.released: list[object] = []
        self.fails_at_exit = False
        self.side = FakeStream("side", self.events)
        self.main = FakeStream("main", self.events)
        self.current = self.main
        for name in ("graph", "stream", "empty_cache", "graph_pool_handle"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: self.side)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.current)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
        monkeypatch.setattr(torch.cuda, "default_generators", (self.generator,))
        private = {
            "_cuda_endAllocateToPool": self.end_allocation,
            "_cuda_releasePool": lambda device, pool: self.released.append(pool),
        }
        for name, function in private.items():
            monkeypatch.setattr(torch._C, name, function, raising=False)

    def graph_pool_handle(self) -> tuple[int, int]:
        self.pools += 1
        return (0, self.pools)

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(
        self, graph: FakeGraph, pool: object, stream: FakeStream, capture_error_mode: str
    ) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        assert stream is self.current
        self.empty_cache()
        self.underway.add(pool)
        self.generator.captured = True
        if pool in self.underway_on_host:
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        self.underway_on_host.add(pool)
        self.events.append(f"capture into {pool}")
        try:
            with graph:
                yield
        finally:
            self.end_capture(pool)
        self.events.append("captured")

    def end_capture(self, pool: object) -> None:
        if self.fails_at_exit:
            raise RuntimeError("CUDA error: operation failed due to a previous error in capture")
        self.underway.remove(pool)
        self.underway_on_host.remove(pool)
        self.generator.captured = False

    def empty_cache(self) -> None:
        if self.underway:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")
        self.events.append("empty cache")

    def end_allocation(self, device: int, pool: object) -> None:
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCUDA:
    fake = FakeCUDA(monkeypatch)

    def memory(_: torch.device) -> GraphMemory:
        stream: Any = fake.side
        return GraphMemory(torch.cuda.graph_pool_handle(), stream)

    monkeypatch.setattr(cuda_graphs, "memory_for_graphs", memory)
    return fake


class Tracked(nn.Module):
    """x * 2 + 1; what it does on which stream is logged."""

    def __init__(self, cuda: FakeCUDA) -> None:
        super().__init__()
        self.cuda_ = cuda
        self.fails_on: tuple[str, int] | None = None
        self.calls: Counter[str] = Counter()

    def forward(self, x: Tensor) -> Tensor:
        stream = self.cuda_.current.name
        self.cuda_.events.append(f"net on {stream}")
        self.calls[stream] += 1
        if self.fails_on == (stream, self.calls[stream]):
            raise torch.cuda.OutOfMemoryError("simulated")
        return x * 2 + 1


def test_a_capture_warms_up_beside_and_waits_both_ways(cuda: FakeCUDA) -> None:
    net = runner(Tracked(cuda))
    net(images(2))
    cuda.events.clear()
    net(images(2))
    assert cuda.events == [
        "side waits for main",
        "net on side",
        "empty cache",
        "capture into (0, 1)",
        "net on side",
        "captured",
        "main waits for side",
    ]


def test_a_replay_reads_each_input_and_its_output_stays(cuda: FakeCUDA) -> None:
    net = runner(Tracked(cuda))
    inputs = [torch.randn(2, 3, 4, 4) for _ in range(5)]
    outputs = [net(x) for x in inputs]
    for x, y in zip(inputs, outputs):
        assert torch.equal(y, x * 2 + 1)
    assert net.net.calls == {"main": 1, "side": 2}


def test_the_graphs_input_has_the_networks_dtype(cuda: FakeCUDA) -> None:
    net = CUDAGraphRunner(Tracked(cuda), CPU, torch.uint8)
    warm_up(net, [(4, 4)])
    pixels = torch.randint(100, (1, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(net(pixels), pixels * 2 + 1)
    assert net.counters.fallbacks == 0


@pytest.mark.parametrize(
    "fails_on", [("side", 1), ("side", 2)], ids=["in the warm-up", "in the capture"]
)
def test_a_capture_that_runs_out_of_memory_leaves_no_trace(
    cuda: FakeCUDA, fails_on: tuple[str, int], clock: Clock
) -> None:
    tracked = Tracked(cuda)
    tracked.fails_on = fails_on
    net = runner(tracked)
    x = torch.randn(1, 3, 4, 4)
    for _ in range(3):
        assert torch.equal(net(x), x * 2 + 1)
    assert net.counters.failures == 1
    assert not cuda.underway
    assert cuda.current is cuda.main
    clock.now += FIRST_BACK_OFF
    assert torch.equal(net(x), x * 2 + 1)
    assert (net.counters.captures, net.counters.replays) == (1, 1)


def test_a_capture_that_fails_at_its_end_leaves_the_allocator_usable(
    cuda: FakeCUDA, clock: Clock
) -> None:
    net = runner(Tracked(cuda))
    x = torch.randn(1, 3, 4, 4)
    net(x)
    cuda.fails_at_exit = True
    net(x)
    assert net.counters.failures == 1
    assert not cuda.underway
    assert not cuda.generator.captured  # else torch.randn would raise
    assert cuda.released == [(0, 1)]
    cuda.fails_at_exit = False
    clock.now += FIRST_BACK_OFF
    net(x)
    assert torch.equal(net(x), x * 2 + 1)
    assert net.counters.captures == 1
    assert net.counters.failures == 1
    assert "capture into (0, 2)" in cuda.events  # the first pool takes no more captures


def test_a_capture_that_runs_out_of_memory_keeps_its_pool(cuda: FakeCUDA, clock: Clock) -> None:
    tracked = Tracked(cuda)
    tracked.fails_on = ("side", 2)
    net = runner(tracked)
    x = torch.randn(1, 3, 4, 4)
    for _ in range(2):
        net(x)
    clock.now += FIRST_BACK_OFF
    net(x)
    assert net.counters.captures == 1
    assert cuda.events.count("capture into (0, 1)") == 2


def test_without_the_private_functions_it_goes_on_without_graphs(
    cuda: FakeCUDA, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.delattr(torch._C, name, raising=False)
    net = runner(Tracked(cuda))
    x = torch.randn(1, 3, 4, 4)
    cuda.fails_at_exit = True
    for _ in range(5):
        assert torch.equal(net(x), x * 2 + 1)
        clock.now += LONGEST_BACK_OFF
    assert net.counters.captures == 0
    net.free()  # though the allocator refuses to empty its cache


def test_freed_graphs_are_gone_and_their_pool_is_not_used_again(cuda: FakeCUDA) -> None:
    net = runner(Tracked(cuda))
    x = torch.randn(1, 3, 4, 4)
    net(x)
    net(x)
    graph = weakref.ref(net.graphs[x.shape])
    net.free()
    gc.collect()
    assert graph() is None
    assert cuda.events[-1] == "empty cache"
    net(x)
    assert "capture into (0, 2)" in cuda.events


@needs_cuda
def test_on_a_gpu_a_replay_gives_what_the_network_gives() -> None:
    cuda = torch.device("cuda")
    net = randomize(build_segmenter("resnet18", num_classes=3)).eval()
    fast = optimize_for_inference(net, cuda)
    assert isinstance(fast, CUDAGraphRunner)
    inputs = [torch.randn(2, 3, 65, 97, device=cuda) for _ in range(4)]
    replayed = [fast(x) for x in inputs]
    assert len(fast.graphs) == 1
    for x, logits in zip(inputs, replayed):
        expected = fast.net(x)
        assert (logits - expected).norm() <= 0.02 * expected.norm()


@needs_cuda
def test_on_a_gpu_pixels_are_the_graphs_input() -> None:
    net = randomize(build_segmenter("resnet18", num_classes=3)).eval()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    fast = optimize_for_pixels(net, mean, std, "cuda")
    plain = optimize_for_pixels(net, mean, std, "cpu", "fp32")
    warm_up(fast, [(65, 97)])
    counters = graph_counters(fast)
    assert counters is not None
    assert counters.captures == len(PART_SIZES)
    pixels = torch.randint(256, (3, 3, 65, 97), dtype=torch.uint8)
    expected, logits = plain(pixels), fast(pixels).cpu()
    assert (logits - expected).norm() <= 0.05 * expected.norm()
    assert counters.replays == 2
    assert counters.fallbacks == 0


@needs_cuda
def test_on_a_gpu_an_output_outlives_the_next_replay() -> None:
    x, y = torch.randn(2, 8, device="cuda")
    replay = capture(Doubling(), x, memory_for_graphs(x.device))
    first = replay(x)
    replay(y)
    assert torch.equal(first, 2 * x)


@needs_cuda
def test_on_a_gpu_memory_that_runs_out_is_recovered_from() -> None:
    torch.cuda.empty_cache()
    device = torch.device("cuda")
    net = randomize(build_segmenter("resnet18", num_classes=3)).eval()
    fast = optimize_for_inference(net, device)
    x = torch.randn(8, 3, 520, 520, device=device)
    expected = fast(x)
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + (64 << 20)) / total)
    torch.cuda.empty_cache()
    try:
        with pytest.raises(RuntimeError) as error:
            fast(x)
        assert is_out_of_memory(error.value), error.value
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    logits = fast(x)
    assert (logits - expected).norm() <= 0.02 * expected.norm()


@needs_cuda
@pytest.mark.parametrize("first_breaks", [False, True])
def test_on_a_gpu_an_illegal_capture_is_recovered_from(first_breaks: bool, clock: Clock) -> None:
    """An operator that waits for the GPU breaks the capture; later ones work, memory is freed."""

    class Synchronizing(Doubling):
        broken = first_breaks

        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            if self.broken and torch.cuda.is_current_stream_capturing():
                y.sum().item()
            return y

    plain = Synchronizing()
    net = CUDAGraphRunner(plain, torch.device("cuda"), torch.float32)
    x, y = (torch.randn(1, 3, 4, width, device="cuda") for width in (4, 5))
    for _ in range(2):
        assert torch.equal(net(x), 2 * x)
    plain.broken = True
    clock.now += LONGEST_BACK_OFF
    for _ in range(2):
        assert torch.equal(net(y), 2 * y)
    assert torch.randn(1, device="cuda").isfinite()  # the failed capture holds no generator
    plain.broken = False
    for _ in range(3):
        clock.now += LONGEST_BACK_OFF
        for z in (x, y):
            assert torch.equal(net(z), 2 * z)
    assert net.counters.failures >= 1
    assert len(net.graphs) == 2
    torch.cuda.empty_cache()  # raises where a capture is still underway

"""Forwards replayed from CUDA graphs: one launch instead of several hundred.

At batch 1 a GPU finishes a layer before Python has launched the next. A graph holds all launches
for one input shape. Capturing one takes two forwards and empties the allocator's cache, and photos
come in many shapes. Batches are therefore split into parts of few sizes. The shapes of most photos
are captured when a worker starts (`warm_up`), any other when it comes again, at most one in
CAPTURE_INTERVAL.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from model.optimize.cuda_errors import is_out_of_memory

logger = logging.getLogger(__name__)

Forward = Callable[[Tensor], Tensor]

# Batches are split into parts of these many images, so a shape has at most four graphs. Eight
# images fill a GPU: larger parts would only take more memory.
PART_SIZES = (8, 4, 2, 1)

# Graphs that are kept, each with its own input and logits. They share the memory of activations:
# all are captured on one stream, so no two run at once, and none reads what another left there.
MAX_GRAPHS = 64

# Shapes without a graph that are remembered: one that comes again is captured. Few, because photos
# of random sizes would otherwise have a capture for every request.
RECENT_SHAPES = 16

# Seconds between two captures that requests wait for. One takes about 0.1 s.
CAPTURE_INTERVAL = 1.0

# Seconds until the next capture after a failed one, doubled by each further failure. Memory that
# another process took is soon free again; an operator that cannot be captured stays.
FIRST_BACK_OFF = 30.0
LONGEST_BACK_OFF = 3600.0


@dataclass
class GraphCounters:
    """Events since a runner was created; for metrics."""

    captures: int = 0
    failures: int = 0  # captures that failed
    replays: int = 0
    fallbacks: int = 0  # forwards without a graph
    evictions: int = 0  # graphs that were dropped, for newer ones or for their memory


class CUDAGraphRunner(nn.Module):
    """`net` replayed: (B, 3, H, W) on any device -> (B, num_classes, h, w) on `device`.

    `input_dtype` is the dtype that `net` reads. The output is never overwritten by later calls.
    Where a capture fails, forwards run without a graph, and captures are retried later.
    """

    def __init__(self, net: nn.Module, device: torch.device, input_dtype: torch.dtype) -> None:
        super().__init__()
        self.net = net
        self.device = device
        self.input_dtype = input_dtype
        self.counters = GraphCounters()
        self.graphs: OrderedDict[torch.Size, Forward] = OrderedDict()  # the last used is the last
        self.recent: deque[torch.Size] = deque(maxlen=RECENT_SHAPES)
        self.memory = memory_for_graphs(device)
        self.back_off = FIRST_BACK_OFF
        self.next_capture = 0.0  # as `monotonic` has it

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        parts = [self.part(part) for part in torch.split(x, part_sizes(len(x)))]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @torch.inference_mode()
    def warm_up(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Capture the graphs of inputs of (H, W) pixels, until one fails or MAX_GRAPHS are kept."""
        for height, width in sizes:
            for batch in PART_SIZES:  # largest first: the smaller ones fit in its memory
                x = torch.zeros(
                    (batch, 3, height, width), dtype=self.input_dtype, device=self.device
                )
                if x.shape in self.graphs:
                    continue
                if len(self.graphs) == MAX_GRAPHS or not self.capture(x):
                    return

    def part(self, x: Tensor) -> Tensor:
        """The logits of a batch of one of PART_SIZES."""
        if x.shape not in self.graphs and self.is_due(x.shape):
            self.next_capture = monotonic() + CAPTURE_INTERVAL
            self.capture(x)
        if x.shape not in self.graphs:
            self.counters.fallbacks += 1
            return self.without_graph(x)
        self.counters.replays += 1
        self.graphs.move_to_end(x.shape)
        return self.graphs[x.shape](x)

    def is_due(self, shape: torch.Size) -> bool:
        """Whether a shape without a graph should get one now."""
        if shape not in self.recent:
            self.recent.append(shape)
            return False
        return monotonic() >= self.next_capture

    def capture(self, x: Tensor) -> bool:
        """Keep a graph for x's shape, in place of the least recently used one if there are many."""
        while len(self.graphs) >= MAX_GRAPHS:
            self.graphs.popitem(last=False)
            self.counters.evictions += 1
        try:
            graph = capture(self.net, x.to(self.device, self.input_dtype), self.memory)
        except RuntimeError:
            logger.exception(
                "no CUDA graph of %s; the next try is in %.0f s", tuple(x.shape), self.back_off
            )
            self.counters.failures += 1
            self.next_capture = monotonic() + self.back_off
            self.back_off = min(2 * self.back_off, LONGEST_BACK_OFF)
            return False
        self.counters.captures += 1
        self.back_off = FIRST_BACK_OFF
        self.graphs[x.shape] = graph
        return True

    def without_graph(self, x: Tensor) -> Tensor:
        """net(x); where its memory runs out, the graphs' memory is freed and it runs again."""
        try:
            logits: Tensor = self.net(x)
            return logits
        except RuntimeError as error:
            if not self.graphs or not is_out_of_memory(error):
                raise
        # Outside the except block, where the error no longer holds the failed attempt's tensors.
        self.free()
        logits = self.net(x)
        return logits

    def free(self) -> None:
        """Release the memory of all graphs. A pool without graphs cannot be used again."""
        self.counters.evictions += len(self.graphs)
        self.graphs.clear()
        if self.memory is not None:
            # The stream stays: cuBLAS keeps a workspace for each stream and never releases it.
            self.memory.pool = torch.cuda.graph_pool_handle()
        # While a failed capture is still underway nothing can be released; it is reused at least.
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()


def warm_up(net: nn.Module, sizes: Iterable[tuple[int, int]]) -> None:
    """Capture an optimised network for inputs of (H, W) pixels, if it runs from CUDA graphs."""
    if isinstance(net, CUDAGraphRunner):
        net.warm_up(sizes)


def graph_counters(net: nn.Module) -> GraphCounters | None:
    """An optimised network's counters, if it runs from CUDA graphs."""
    return net.counters if isinstance(net, CUDAGraphRunner) else None


def part_sizes(batch: int) -> list[int]:
    """How many images each part of a batch has: 13 -> [8, 4, 1]."""
    sizes: list[int] = []
    for size in PART_SIZES:
        count, batch = divmod(batch, size)
        sizes += [size] * count
    return sizes


@dataclass
class GraphMemory:
    """Pool and stream that graphs share: the allocator reuses a block only within one stream.

    PyTorch's allocators still refer to the graphs of broken captures, so these are kept.
    """

    pool: Any
    stream: torch.cuda.Stream
    broken: list[torch.cuda.CUDAGraph] = field(default_factory=list)


def memory_for_graphs(device: torch.device) -> GraphMemory | None:
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device)
    return GraphMemory(torch.cuda.graph_pool_handle(), stream)


def capture(net: nn.Module, x: Tensor, memory: GraphMemory | None) -> Forward:
    """A function that replays net(x) from a CUDA graph, for any input of x's shape.

    Only one of the graphs with the same memory may run at a time. Raises RuntimeError where the
    network cannot be captured.
    """
    assert memory is not None
    static_input = x.clone()  # a graph always reads and writes the same addresses
    side = memory.stream
    side.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(side):
        net(static_input)  # libraries allocate their workspaces outside the pool
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, which may free memory meanwhile, do not break the capture.
            with torch.cuda.graph(graph, memory.pool, side, capture_error_mode="thread_local"):
                static_logits: Tensor = net(static_input)
        except RuntimeError:
            if end_allocation(memory.pool, x.device):
                memory.pool = torch.cuda.graph_pool_handle()
                memory.broken.append(graph)
                release_generator(x.device)
            raise
    torch.cuda.current_stream(x.device).wait_stream(side)

    def replay(x: Tensor) -> Tensor:
        static_input.copy_(x)
        graph.replay()
        return static_logits.clone()

    return replay


def end_allocation(pool: Any, device: torch.device) -> bool:
    """Tell PyTorch's allocator that a capture into `pool` is over; False if it had ended already.

    For an invalid capture `CUDAGraph.capture_end` raises before it tells the allocator, which would
    then never release memory to the driver again. The allocator of page-locked memory cannot be
    told, and refuses further captures into that pool: later ones need another pool. The functions
    used here are private; where they are missing, memory stays reserved.
    """
    try:
        torch._C._cuda_endAllocateToPool(device.index or 0, pool)
        torch._C._cuda_releasePool(device.index or 0, pool)
    except AttributeError:
        return True
    except RuntimeError:  # "not currently recording": the capture itself did not fail
        return False
    return True


def release_generator(device: torch.device) -> None:
    """Give the device's random generator a new state.

    An invalid capture never releases the state it holds, and `torch.randn` would raise until the
    next capture that succeeds.
    """
    with contextlib.suppress(AttributeError, RuntimeError):
        generator = torch.cuda.default_generators[device.index or 0]
        generator.graphsafe_set_state(generator.clone_state())
